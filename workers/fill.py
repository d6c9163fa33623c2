"""Keeping a process's slots full: when to take, how long to wait, what wakes it.

How many may be taken is the business of `workers.room`. What has ended but is not confirmed is bounded there too, and
nothing is taken while outcomes cannot be written, so that a worker which PostgreSQL does not answer collects nothing.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db.errors import DatabaseError
from workers.flush import Flush
from workers.lease import Lease
from workers.room import Room
from workers.take import Taker

_log = structlog.get_logger("errander.fill")

IDLE_SECONDS = 1.0
"""The longest an idle worker waits for its wake token."""
_OUTAGE_SECONDS = 0.5  # before PostgreSQL is asked again
_STALE_SECONDS = 0.05  # before a stale lease is looked at again
_FROZEN_SECONDS = 0.5  # beyond what it was asked for, after which Redis does not answer any more
_ABOUT_DUE_SECONDS = 0.002  # a wait this short is not worth a round trip to Redis


class Filler:
    """Fills the room of one process until it is told to end. `wake_keys`: list of wake tokens → priority."""

    def __init__(
        self, taker: Taker, room: Room, flush: Flush, lease: Lease, *, waker: Redis, wake_keys: Mapping[str, str]
    ) -> None:
        self._taker = taker
        self._room = room
        self._flush = flush
        self._lease = lease
        self._waker = waker
        self._wake_keys = dict(wake_keys)
        self._woken_by: str | None = None
        self._fails = False  # the last take did

    async def run(self, told: asyncio.Event, *, burst: bool = False) -> None:
        """Takes until `told` is set; with `burst` only until nothing is due, running or unconfirmed."""
        while not told.is_set():
            try:
                if await self._fill(told, burst=burst):
                    return
            except Exception as error:  # whatever it is: this process has jobs that run, and takes again later
                known = isinstance(error, DatabaseError)
                if not self._fails:
                    _log.warning("take.unavailable", error=repr(error), exc_info=not known)
                self._fails, self._woken_by = True, None
                await _within(told, _OUTAGE_SECONDS)

    async def _fill(self, told: asyncio.Event, *, burst: bool) -> bool:
        """One take, or one wait for a reason to take. Whether nothing is left that a burst is to do."""
        free = self._room.free(self._flush)
        if free == 0 or not self._lease.fresh():
            await self._room.wait(_STALE_SECONDS if free else IDLE_SECONDS)
            return False
        woken_by, self._woken_by = self._woken_by, None
        won = await self._taker.take(free, woken_by)
        self._fails = False
        if won == 0:
            if burst and self._taker.idle and self._room.is_empty and not self._flush.unconfirmed:
                return True
            self._woken_by = await self._until_woken(told)
        return False

    async def _until_woken(self, told: asyncio.Event) -> str | None:
        """Waits for a wake token, for the next due time that is known, or to be told to end; whose token it was."""
        seconds = min(self._taker.wait_seconds(), IDLE_SECONDS)
        if seconds <= _ABOUT_DUE_SECONDS:
            await asyncio.sleep(seconds)
            return None
        if self._taker.redis_away:
            await _within(told, seconds)
            return None
        token = asyncio.ensure_future(self._token(seconds))
        end = asyncio.ensure_future(told.wait())
        try:
            patience = seconds + _FROZEN_SECONDS
            await asyncio.wait({token, end}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            woken_by = token.result() if token.done() else None
            answered = token.done() or told.is_set()
        except (RedisError, OSError):
            woken_by, answered = None, False
        finally:
            for task in (token, end):
                task.cancel()
            await asyncio.gather(token, end, return_exceptions=True)
        if not answered:
            self._taker.note_redis_away("it did not answer while this worker was idle")
        return woken_by

    async def _token(self, seconds: float) -> str | None:
        """The priority that somebody was to be woken for; None where nobody was. Raises RedisError, OSError."""
        keys = list(self._wake_keys)
        popped: Any = await self._waker.blpop(keys, timeout=seconds)  # type: ignore[arg-type,misc]  # fractions are taken
        return None if popped is None else self._wake_keys[popped[0].decode()]


async def _within(told: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), seconds)
