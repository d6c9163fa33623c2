"""Keeping a process's slots full: when to take, how long to wait, what wakes it.

A slot is free when its job's code has ended. What has ended but is not confirmed is bounded too, and nothing is taken
while outcomes cannot be written, so that a worker which PostgreSQL does not answer collects nothing.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db.errors import DatabaseError
from workers.attempt import Attempt
from workers.flush import Flush
from workers.lease import Lease
from workers.take import Taker

_log = structlog.get_logger("errander.fill")

IDLE_SECONDS = 1.0
"""The longest an idle worker waits for its wake token."""
_OUTAGE_SECONDS = 0.5  # before PostgreSQL is asked again
_STALE_SECONDS = 0.05  # before a stale lease is looked at again
_FROZEN_SECONDS = 0.5  # beyond what it was asked for, after which Redis does not answer any more
_ABOUT_DUE_SECONDS = 0.002  # a wait this short is not worth a round trip to Redis


class Room:
    """The slots of one process."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: set[Attempt] = set()
        """Attempts whose code has not ended."""
        self.changed = asyncio.Event()
        """Set whenever a slot or an unconfirmed outcome has gone."""

    def free(self, flush: Flush) -> int:
        """How many jobs may be taken now."""
        if flush.failing or flush.unconfirmed >= self.slots:
            return 0
        return self.slots - len(self.running)

    async def wait(self, seconds: float) -> None:
        """Waits for a change, at most `seconds`."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)


class Filler:
    """Fills the room of one process until it is told to end."""

    def __init__(
        self, taker: Taker, room: Room, flush: Flush, lease: Lease, *, waker: Redis, wake_keys: Sequence[str]
    ) -> None:
        self._taker = taker
        self._room = room
        self._flush = flush
        self._lease = lease
        self._waker = waker
        self._wake_keys = list(wake_keys)

    async def run(self, told: asyncio.Event, *, burst: bool = False) -> None:
        """Takes until `told` is set; with `burst` only until nothing is due, running or unconfirmed."""
        failed = False
        while not told.is_set():
            free = self._room.free(self._flush)
            if free == 0 or not self._lease.fresh():
                await self._room.wait(_STALE_SECONDS if free else IDLE_SECONDS)
                continue
            try:
                won = await self._taker.take(free)
                failed = False
            except DatabaseError as error:
                if not failed:
                    _log.warning("take.unavailable", error=str(error))
                failed = True
                await _within(told, _OUTAGE_SECONDS)
                continue
            if won == 0:
                if burst and self._taker.idle and not self._room.running and not self._flush.unconfirmed:
                    return
                await self._until_woken(told)

    async def _until_woken(self, told: asyncio.Event) -> None:
        """Waits for the wake token, for the next due time that is known, or to be told to end."""
        seconds = min(self._taker.wait_seconds(), IDLE_SECONDS)
        if seconds <= _ABOUT_DUE_SECONDS:
            await asyncio.sleep(seconds)
            return
        if self._taker.redis_away:
            await _within(told, seconds)
            return
        token = asyncio.ensure_future(self._token(seconds))
        end = asyncio.ensure_future(told.wait())
        try:
            patience = seconds + _FROZEN_SECONDS
            await asyncio.wait({token, end}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            answered = token.result() if token.done() else told.is_set()
        finally:
            for task in (token, end):
                task.cancel()
            await asyncio.gather(token, end, return_exceptions=True)
        if not answered:
            self._taker.note_redis_away("it did not answer while this worker was idle")

    async def _token(self, seconds: float) -> bool:
        """Whether Redis answered, with a token or without."""
        try:
            await self._waker.blpop(self._wake_keys, timeout=seconds)  # type: ignore[arg-type,misc]  # fractions are taken
        except (RedisError, OSError):
            return False
        return True


async def _within(told: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), seconds)
