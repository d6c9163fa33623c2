"""JSON Web Tokens by the book (RFC 8725): one family of algorithms, every claim required, nothing taken on trust.

Which algorithm is allowed follows from the key, never from the token; so `none`, a public key passed off as a secret, and
the key or address that a token brings along (`jwk`, `jku`, `x5u`) lead nowhere. A token that names an extension it insists
on (`crit`) is refused.
"""

import math
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from service.auth.errors import refused
from service.auth.jwks import KeySet, UnknownKey
from service.auth.principal import DEFAULT_TENANT
from service.auth.scopes import Scope, foreign, known

LONGEST: Final = 8 * 1024
"""Characters of a token."""
LEEWAY: Final = 30.0
"""Seconds that clocks may be apart."""
KEY_CLAIM: Final = "errander_key"
"""Names the API key that a token was made for."""
TENANT_FORM: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")

_HMAC: Final = "HS256"
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_REQUIRED: Final = ["sub", "iss", "aud", "iat", "exp"]
_MOST_SUBJECT, _MOST_KID = 255, 200


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. `expires_at` is in seconds since 1970."""

    subject: str
    tenant: str
    scopes: frozenset[Scope]
    expires_at: float
    key_id: str | None


class Tokens:
    """Verifies tokens by a shared `secret` or by the `keys` of an issuer, one of the two; signs with the secret."""

    def __init__(
        self, *, issuer: str, audience: str, longest: float, secret: bytes | None = None, keys: KeySet | None = None
    ) -> None:
        if (secret is None) == (keys is None):
            raise ValueError("a secret or a key set, one of them")
        self._issuer = issuer
        self._audience = audience
        self._longest = longest
        self._secret = secret
        self._keys = keys

    @property
    def can_sign(self) -> bool:
        """Whether tokens can be made here."""
        return self._secret is not None

    async def claims(self, text: str) -> Claims:
        """What a token says. Raises Problem `unauthenticated`, or `unavailable` where no key could be fetched."""
        if len(text) > LONGEST:
            raise refused(f"a token has at most {LONGEST} characters")
        try:
            header = jwt.get_unverified_header(text)
            key, algorithm = await self._key(header)
            said: Mapping[str, Any] = jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise refused(_words(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise refused("the token is not well formed") from None
        return self._checked(header, said)

    def issue(self, *, subject: str, tenant: str, scopes: Iterable[str], key_id: str, seconds: float) -> str:
        """A token of our own, for an API key. Raises RuntimeError without a secret."""
        if self._secret is None:
            raise RuntimeError("tokens are verified by an issuer's keys; none can be made here")
        now = int(time.time())
        said = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "iat": now,
            "exp": now + int(seconds),
            "jti": uuid.uuid4().hex,
            "tenant": tenant,
            "scope": " ".join(sorted(scopes)),
            KEY_CLAIM: key_id,
        }
        return jwt.encode(said, self._secret, algorithm=_HMAC, headers={"typ": "at+jwt"})

    async def _key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """The key that must have signed, and the one algorithm that goes with it."""
        if str(header.get("typ")).lower() not in _TYPES:
            raise refused("the token's typ is not JWT or at+jwt")
        if self._keys is None:
            return self._secret, _HMAC
        kid = header.get("kid")
        if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= _MOST_KID):
            raise refused("the token's kid is not well formed")
        try:
            key = await self._keys.key(kid)
        except UnknownKey:
            raise refused("the token names no key of its issuer") from None
        return key.key, key.algorithm_name

    def _checked(self, header: Mapping[str, Any], said: Mapping[str, Any]) -> Claims:
        if "crit" in header:
            raise refused("the token insists on an extension")
        issued, expires = said["iat"], said["exp"]
        if not (_is_moment(issued) and _is_moment(expires)):
            raise refused("iat and exp must be numbers")
        if not 0 < expires - issued <= self._longest:
            raise refused(f"a token is valid for at most {self._longest:g} seconds; use an API key for longer")
        subject, tenant, scope = said["sub"], said.get("tenant", DEFAULT_TENANT), said.get("scope", "")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable():
            raise refused(f"sub must be a text of 1 to {_MOST_SUBJECT} characters")
        if not isinstance(tenant, str) or not TENANT_FORM.match(tenant):
            raise refused("tenant is not well formed")
        if not isinstance(scope, str):
            raise refused("scope must be a text, its names separated by spaces")
        key_id = said.get(KEY_CLAIM)
        if key_id is not None and not isinstance(key_id, str):
            raise refused(f"{KEY_CLAIM} must be a text")
        scopes = known(scope.split()) if self._keys is None else foreign(scope.split())
        return Claims(subject, tenant, scopes, float(expires), key_id)


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(error: jwt.PyJWTError) -> str:
    """Why a token is refused, without a word of what it says."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet"
        case jwt.InvalidAudienceError():
            return "the token is for another audience"
        case jwt.InvalidIssuerError():
            return "the token is of another issuer"
        case jwt.MissingRequiredClaimError():
            return f"the token lacks a claim; {', '.join(_REQUIRED)} are required"
        case jwt.InvalidAlgorithmError():
            return "the token is signed with an algorithm that is not allowed"
        case jwt.InvalidSignatureError():
            return "the token's signature is not valid"
    return "the token is not well formed"
