"""Lets requests in: who asks, and whether they may.

What a credential turned out to be is remembered for a moment, so that a busy client costs one look. `KEY_SECONDS` is
therefore how long a key still works in a process after it was revoked elsewhere.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from db import keys as kept_keys
from db.engine import Link
from db.errors import DatabaseError
from db.keys import KeyRecord
from db.lifecycle import Priority
from service.auth import keys
from service.auth.errors import lacks, missing, refused
from service.auth.principal import ANYONE, Principal, set_principal
from service.auth.scopes import Scope, known
from service.auth.tokens import LEEWAY, Tokens
from service.http.problems import Problem
from service.limits.rate_limits import RateLimits

_log = structlog.get_logger("errander.auth")

KEY_SECONDS: Final = 5.0
"""How long it is believed that a key is what it was."""
TOKEN_SECONDS: Final = 60.0
"""How long it is believed that a token's signature is good: its issuer may have withdrawn the key."""
MOST: Final = 10_000
"""Credentials that are remembered."""
NOTE_SECONDS: Final = 15.0
"""How often it is noted which keys were used."""


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: float


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
        self._looks: dict[tuple[int, bytes], asyncio.Task[_Known]] = {}
        self._age = 0
        self._used: set[str] = set()
        self._noting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to note which keys are used."""
        self._noting = asyncio.create_task(self._note_for_ever(), name="errander.auth.note")

    async def stop(self) -> None:
        """Notes what is left to note, and ends looks that are under way."""
        tasks = [*self._looks.values(), *([self._noting] if self._noting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(DatabaseError):
            await self.note()

    async def admit(self, request_scope: dict[str, Any], needed: Scope | None) -> None:
        """Keeps the principal with the request. Raises Problem `unauthenticated`, `quota-exceeded` or `forbidden`."""
        principal = ANYONE if self._is_off else await self.authenticated(request_scope)
        if self._limits is not None:
            await self._limits.admit(principal, request_scope)
        if needed is not None and needed not in principal.scopes:
            raise lacks(needed)
        set_principal(request_scope, principal)

    async def authenticated(self, request_scope: dict[str, Any]) -> Principal:
        """Who asks, by the credential that came with the request. Raises Problem `unauthenticated`."""
        sent = credential(request_scope)
        found = self._known.get(sent)
        if found is None or self._clock() >= found.until:
            is_new = found is None and (self._age, sent) not in self._looks
            found = await (self._tried(sent, _address(request_scope)) if is_new else self._once(sent))
        principal = found.principal
        if principal.expires_at is not None and time.time() > principal.expires_at + LEEWAY:
            raise refused("the token has expired")
        if principal.key_id is not None:
            self._used.add(principal.key_id)
        return principal

    def forget(self) -> None:
        """Makes the next look at each credential fresh, after this process changed a key."""
        self._age += 1  # what a look under way has read may be no longer true: it is not kept, and nobody joins it
        self._known.clear()

    async def note(self) -> None:
        """Writes down which keys were used. Raises the errors of `db.errors`."""
        used, self._used = self._used, set()
        if used:
            await kept_keys.note_used(self._link, sorted(used))

    async def _tried(self, sent: bytes, address: str) -> _Known:
        """One look for an address that has not been wrong too often.

        Whoever was right a moment ago is not asked that: a neighbour behind the same address must not lock him out.
        """
        if self._limits is not None:
            self._limits.may_try(address)
        try:
            return await self._once(sent)
        except Problem:
            if self._limits is not None:
                await self._limits.failed(address)
            raise

    async def _once(self, sent: bytes) -> _Known:
        """One look however many requests wait for it."""
        named = self._age, sent
        look = self._looks.get(named)
        if look is None:
            look = self._looks[named] = asyncio.create_task(self._look(sent), name="errander.auth.look")
            look.add_done_callback(lambda _: self._looks.pop(named, None))
        # Shielded: a client that goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(look)

    async def _look(self, sent: bytes) -> _Known:
        began, age = self._clock(), self._age
        self._known.pop(sent, None)
        text = sent.decode("latin-1")
        if text.startswith(keys.PREFIX):
            principal, seconds = await self._by_key(text), KEY_SECONDS
        elif self.tokens is not None:
            principal = await self._by_token(self.tokens, text)
            seconds = TOKEN_SECONDS if principal.key_id is None else KEY_SECONDS
        else:
            raise refused("this server knows API keys only, and this is none")
        if len(self._known) >= MOST:
            self._known.clear()
        found = _Known(principal, began + seconds)
        if age == self._age:
            self._known[sent] = found
        return found

    async def _by_key(self, text: str) -> Principal:
        key = keys.parse(text)
        if key is None:
            raise refused("the API key is mistyped or incomplete")
        record = await kept_keys.find(self._link, key.id)
        if record is None or not keys.matches(key, self.pepper, record.digest) or not record.active:
            raise refused("the API key does not exist, has expired or was revoked")
        return _principal(record, known(record.scopes))

    async def _by_token(self, tokens: Tokens, text: str) -> Principal:
        claims = await tokens.claims(text)
        if claims.key_id is None:
            return Principal(f"jwt:{claims.subject}", claims.tenant, claims.scopes, expires_at=claims.expires_at)
        record = await kept_keys.find(self._link, claims.key_id)
        if record is None or not record.active or record.tenant != claims.tenant:
            raise refused("the API key of this token has expired or was revoked")
        return _principal(record, claims.scopes & known(record.scopes), claims.expires_at)

    async def _note_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            try:
                await self.note()
            except DatabaseError as error:
                _log.warning("keys.not_noted", error=str(error))


def _principal(record: KeyRecord, scopes: frozenset[Scope], expires_at: float | None = None) -> Principal:
    return Principal(
        f"key:{record.id}",
        record.tenant,
        scopes,
        tasks=record.tasks,
        max_priority=None if record.max_priority is None else Priority(record.max_priority),
        key_id=record.id,
        expires_at=expires_at,
    )


def _address(request_scope: dict[str, Any]) -> str:
    address: str = (request_scope.get("client") or ("",))[0]
    return address


def credential(request_scope: dict[str, Any]) -> bytes:
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
