"""The public keys of the issuer of tokens (RFC 7517), fetched from where it publishes them.

A set is kept and renewed in the background; the last good one stays in use while the issuer cannot be reached. A key id
that is not in it makes it be fetched again, at most once in `PATIENCE_SECONDS`: invented ids must not turn into requests.
Only asymmetric keys count, so nobody can pass a public key off as a shared secret.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.http.problems import unavailable

_log = structlog.get_logger("errander.auth")

FRESH_SECONDS: Final = 600.0
"""How long a set is used before it is fetched again."""
PATIENCE_SECONDS: Final = 30.0
"""How long it is not fetched again after a fetch, whatever for."""
FIRST_PATIENCE_SECONDS: Final = 5.0
"""The same, while there is no set yet."""
LARGEST: Final = 256 * 1024
"""Bytes of a set."""
_RSA_BITS: Final = 2048
FETCH_SECONDS: Final = 5.0
"""How long a fetch may take in all: whoever waits for a key waits for it."""


class UnknownKey(Exception):
    """No key of the set has this id."""


Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class KeySet:
    """Owned by the guard. `fetch` returns a key set as JSON."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] | None = None
        self._tried_at = float("-inf")
        self._fresh_until = float("-inf")
        self._renewal: asyncio.Task[None] | None = None

    async def key(self, kid: str | None) -> jwt.PyJWK:
        """The key of this id; without an id the only one there is. Raises UnknownKey, or Problem `unavailable`."""
        if self._keys is None:
            await self._renew()
        elif self._clock() >= self._fresh_until:
            self._renew_soon()
        if self._keys is None:
            raise unavailable("the keys of the issuer of tokens cannot be fetched", retry_after=5)
        if kid not in self._keys:
            await self._renew()
        try:
            return self._keys[kid]
        except KeyError:
            raise UnknownKey from None

    async def close(self) -> None:
        """Ends a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew_soon(self) -> None:
        patience = FIRST_PATIENCE_SECONDS if self._keys is None else PATIENCE_SECONDS
        if self._renewal is None and self._clock() - self._tried_at >= patience:
            self._tried_at = self._clock()
            self._renewal = asyncio.create_task(self._replace(), name="errander.jwks")
            self._renewal.add_done_callback(self._renewed)

    async def _renew(self) -> None:
        """Whoever comes while a fetch is under way waits for that one."""
        self._renew_soon()
        if self._renewal is not None:
            await asyncio.shield(self._renewal)

    def _renewed(self, _task: asyncio.Task[None]) -> None:
        self._renewal = None

    async def _replace(self) -> None:
        try:
            keys = usable(await self._fetch())
        except Exception as error:  # whatever an issuer publishes, the last good set stays in use
            _log.warning("jwks.unavailable", error=repr(error))
            return
        if not keys:
            _log.warning("jwks.empty")
            return
        self._keys = keys
        self._fresh_until = self._clock() + FRESH_SECONDS


def usable(document: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """The keys of a set that may verify tokens, by id; the only one also without. Raises ValueError. Pure."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("a key set has a list `keys`")  # noqa: TRY004 - what was fetched is wrong, not an argument
    found: dict[str | None, jwt.PyJWK] = {}
    for data in listed:
        key = _usable(data)
        if key is not None:
            found[data.get("kid")] = key
    if len(found) == 1:
        found[None] = next(iter(found.values()))
    else:
        found.pop(None, None)
    return found


def _usable(data: Any) -> jwt.PyJWK | None:
    if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC", "OKP") or data.get("use", "sig") != "sig":
        return None
    if not isinstance(data.get("kid"), str | None):
        return None
    try:
        key = jwt.PyJWK({name: value for name, value in data.items() if name != "d"})
    except Exception:  # the library raises what its parts raise; one odd key must not cost the others
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < _RSA_BITS:
        return None
    return key


def fetch_from(url: str) -> Fetch:
    """Fetches a key set over HTTP: no redirects, no proxies of the environment, bounded in time and size."""

    async def fetch() -> Mapping[str, Any]:
        # One limit over all of it: those of the client are for each piece, and pieces may drip for ever.
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json", "Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"the key set's address answers {answer.status_code}")
            body = b""
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LARGEST:
                    raise ValueError(f"the key set is larger than {LARGEST} bytes")
        document: Mapping[str, Any] = httpx.Response(httpx.codes.OK, content=body).json()
        return document

    return fetch
