"""Lets requests in: who asks, and whether they may.

What a credential turned out to be is remembered for a moment, so that a busy client costs one look. `KEY_SECONDS` of
`key_records` is therefore how long a key still works in a process after it was revoked elsewhere.

Wrong secrets are counted by the network they come from and the id of the key they are for, and nothing else is: a JWT needs
no look and its signature cannot be guessed, and an outage is nobody's fault. Whoever has the right secret of a key that was
seen here is let in however many are wrong about it.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from db import keys as kept_keys
from db.engine import Link
from db.errors import DatabaseError
from db.lifecycle import Priority
from service.auth import keys
from service.auth.errors import lacks, missing, refused
from service.auth.key_records import KeyRecords, Seen
from service.auth.principal import ANYONE, Principal, set_principal
from service.auth.refusals import Refusals
from service.auth.scopes import Scope, known
from service.auth.tokens import LEEWAY, Tokens
from service.http.problems import Problem
from service.limits.rate_limits import RateLimits

_log = structlog.get_logger("errander.auth")

TOKEN_SECONDS: Final = 60.0
"""How long it is believed that a token's signature is good: its issuer may have withdrawn the key."""
MOST: Final = 10_000
"""Credentials that are remembered."""
NOTE_SECONDS: Final = 15.0
"""How often it is noted which keys were used."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Who a credential is, believed `until` a moment of the clock; a token also `ends`, in seconds since 1970."""

    principal: Principal
    until: float
    ends: float = float("inf")


class Guard:
    """Owned by the application; every guarded route asks it first. Without `tokens` only API keys are credentials."""

    def __init__(
        self,
        link: Link,
        *,
        is_off: bool,
        tokens: Tokens | None = None,
        pepper: bytes = b"",
        limits: RateLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._is_off = is_off
        self.tokens = tokens
        self.pepper = pepper
        self._limits = limits
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._records = KeyRecords(link, clock=clock)
        self._refusals = Refusals()
        self._used: set[str] = set()
        self._noting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to note which keys are used."""
        self._noting = asyncio.create_task(self._note_for_ever(), name="errander.auth.note")

    async def stop(self) -> None:
        """Notes what is left to note, and ends looks that are under way."""
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)
        await self._records.stop()
        self._refusals.settle()
        with contextlib.suppress(DatabaseError):
            await self.note()

    async def admit(self, request_scope: MutableMapping[str, Any], needed: Scope | None) -> None:
        """Keeps the principal with the request. Raises Problem `unauthenticated`, `quota-exceeded` or `forbidden`."""
        principal = None
        try:
            principal = ANYONE if self._is_off else await self.authenticated(request_scope)
            if self._limits is not None:
                await self._limits.admit(principal, request_scope)
            if needed is not None and needed not in principal.scopes:
                raise lacks(needed)
        except Problem as refusal:
            self._refusals.tell(refusal, lambda: _who(request_scope, principal))
            raise
        set_principal(request_scope, principal)

    async def authenticated(self, request_scope: MutableMapping[str, Any]) -> Principal:
        """Who asks, by the credential that came with the request.

        Raises Problem `unauthenticated`, `quota-exceeded` or `unavailable`, and the errors of `db.errors`.
        """
        sent = credential(request_scope)
        found = self._known.get(sent)
        if found is None or self._clock() >= found.until:
            found = await self._looked_at(sent, _address(request_scope))
        elif time.time() >= found.ends:
            raise refused("the token has expired")
        principal = found.principal
        if principal.key_id is not None:
            self._used.add(principal.key_id)
        return principal

    async def still_good(self, principal: Principal) -> bool:
        """Whether the credential that `principal` came with has neither ended nor been revoked since.

        For answers that last: a stream asks every few seconds, and ends when this is false. A key, and a token that was made
        for one, are what they were at most `KEY_SECONDS` ago; many who ask for one key in that time cost one look. The token
        of an issuer is good until its `exp` and `LEEWAY`, as for a request. While nothing can be told, PostgreSQL being away
        or too much being asked of it, what was good stays so.
        """
        if principal.ends_at is not None and time.time() >= principal.ends_at:
            return False
        if principal.key_id is None:
            return True
        try:
            seen = await self._records.find(principal.key_id)
        except (DatabaseError, Problem):
            return True
        return seen is not None and seen.record.active

    def forget(self) -> None:
        """Makes the next look at each credential fresh, after this process changed a key."""
        self._records.forget()
        self._known.clear()

    async def note(self) -> None:
        """Writes down which keys were used. Raises the errors of `db.errors`."""
        used, self._used = self._used, set()
        if used:
            await kept_keys.note_used(self._link, sorted(used))

    async def _looked_at(self, sent: bytes, address: str) -> _Known:
        text = sent.decode("latin-1")
        if text.startswith(keys.PREFIX):
            found = await self._by_key(text, address)
        elif self.tokens is not None:
            found = await self._by_token(self.tokens, text)
        else:
            raise refused("this server knows API keys only, and this is none")
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[sent] = found
        return found

    async def _by_key(self, text: str, address: str) -> _Known:
        key = keys.parse(text)
        if key is None:
            raise refused("the API key is mistyped or incomplete")
        last = self._records.last(key.id)
        was_right = last is not None and keys.matches(key, self.pepper, last.digest)
        guesses = None if self._limits is None else self._limits.guesses
        if guesses is not None and not was_right:
            guesses.may_go_on(address, key.id)
        seen = await self._records.find(key.id)
        if seen is None or not keys.matches(key, self.pepper, seen.record.digest):
            if guesses is not None:
                # After the look and not before it: each of those who waited for it together counts.
                guesses.count(address, key.id)
            raise _no_such_key()
        if not seen.record.active:
            raise _no_such_key()
        return _Known(_principal(seen, known(seen.record.scopes)), seen.until)

    async def _by_token(self, tokens: Tokens, text: str) -> _Known:
        began, claims = self._clock(), await tokens.claims(text)
        ends = claims.expires_at + LEEWAY
        if claims.key_id is None:
            principal = Principal(
                *(f"jwt:{claims.subject}", claims.tenant, claims.scopes), expires_at=claims.expires_at, leeway=LEEWAY
            )
            return _Known(principal, began + TOKEN_SECONDS, ends)
        seen = await self._records.find(claims.key_id)
        if seen is None or not seen.record.active or seen.record.tenant != claims.tenant:
            raise refused("the API key of this token has expired or was revoked")
        return _Known(_principal(seen, claims.scopes & known(seen.record.scopes), claims.expires_at), seen.until, ends)

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            self._refusals.settle()
            try:
                await self.note()
            except DatabaseError as error:
                _log.warning("keys.not_noted", error=str(error))


def _no_such_key() -> Problem:
    """One answer for all that is wrong with a key: it must not tell which ids there are."""
    return refused("the API key does not exist, has expired or was revoked")


def _principal(seen: Seen, scopes: frozenset[Scope], token_ends: float | None = None) -> Principal:
    record = seen.record
    key_ends = float("inf") if record.ends_at is None else record.ends_at.timestamp()
    token_ends = float("inf") if token_ends is None else token_ends
    expires_at = min(key_ends, token_ends)
    return Principal(
        f"key:{record.id}",
        record.tenant,
        scopes,
        tasks=record.tasks,
        max_priority=None if record.max_priority is None else Priority(record.max_priority),
        key_id=record.id,
        expires_at=None if math.isinf(expires_at) else expires_at,
        leeway=0.0 if key_ends <= token_ends else min(LEEWAY, key_ends - token_ends),
    )


def _who(request_scope: MutableMapping[str, Any], principal: Principal | None) -> dict[str, Any]:
    """Whom a refusal met, as far as it is known: nothing of a secret."""
    found: dict[str, Any] = {"address": _address(request_scope)}
    if principal is not None:
        return found | {"actor": principal.name, "tenant": principal.tenant}
    with contextlib.suppress(Problem):
        key = keys.parse(credential(request_scope).decode("latin-1"))
        if key is not None:
            found["key_id"] = key.id
    return found


def _address(request_scope: MutableMapping[str, Any]) -> str:
    address: str = (request_scope.get("client") or ("",))[0]
    return address


def credential(request_scope: MutableMapping[str, Any]) -> bytes:
    """What was sent as `Authorization: Bearer …`. Raises Problem `unauthenticated`."""
    given: bytes | None = None
    for name, value in request_scope["headers"]:
        if name == b"authorization":
            if given is not None:
                raise refused("Authorization must be given once")
            given = value
    if given is None:
        raise missing()
    kind, _, sent = given.partition(b" ")
    found = sent.strip()
    if not found or kind.lower() != b"bearer":
        raise refused("Authorization must be `Bearer` and an API key or a JWT")
    return found
