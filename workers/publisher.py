"""Publishing without being waited for: one queue of hints and one pipeline a process, behind a breaker.

What cannot be published is dropped: workers find every due job at the head of PostgreSQL within a second.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from db import failpoints
from workers.hints import Hint, Hints
from workers.redis_client import connect

_log = structlog.get_logger("errander.publisher")

_CALL_SECONDS = 0.1
"""How long one pipeline may take; submits are not to pile up behind a frozen Redis."""
_OPEN_SECONDS = 1.0
"""How long the breaker stays open after a failure."""
_STOP_SECONDS = 1.0
"""How long each step of stopping may take; what is not published then is found in PostgreSQL."""
_BACKLOG = 20_000
"""Hints kept while a call is under way; the rest is dropped."""
_BATCH = 2_000


class Publisher:
    """Owned by a process; `offer` never blocks and never raises."""

    def __init__(self, redis_url: str, *, window: int = 5000, horizon: float = 60.0) -> None:
        self._redis = connect(redis_url, timeout=_CALL_SECONDS * 5)
        self._hints = Hints(self._redis, window=window, horizon=horizon)
        self._waiting: list[Hint] = []
        self._final: list[UUID] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed_until = 0.0
        self._stopping = False

    @property
    def healthy(self) -> bool:
        """Whether the last call succeeded."""
        return time.monotonic() >= self._closed_until

    def start(self) -> None:
        """Starts the one task that publishes."""
        self._task = asyncio.create_task(self._run(), name="errander.publisher")

    async def stop(self) -> None:
        """Publishes what is left, if that is quick, and closes the connection."""
        self._stopping = True
        self._news.set()
        if self._task is not None:
            # Told first and cancelled after: redis-py can lose a cancellation while it connects.
            for _ in range(2):
                await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
                self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._redis.aclose()

    def offer(self, hints: Sequence[Hint]) -> None:
        """Publishes soon, or drops."""
        if self._stopping or not self.healthy or len(self._waiting) + len(hints) > _BACKLOG:
            return
        self._waiting.extend(hints)
        self._news.set()

    def offer_final(self, ids: Sequence[UUID]) -> None:
        """Tells waiting clients soon that these jobs are final, or lets them find out by asking."""
        if self.healthy and len(self._final) < _BACKLOG:
            self._final.extend(ids)
            self._news.set()

    async def _run(self) -> None:
        while not self._stopping or self._waiting or self._final:
            await self._news.wait()
            self._news.clear()
            while self._waiting or self._final:
                await self._publish()

    async def _publish(self) -> None:
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        final, self._final = self._final[:_BATCH], self._final[_BATCH:]
        try:
            async with asyncio.timeout(_CALL_SECONDS if len(batch) <= 100 else _CALL_SECONDS * 5):
                await failpoints.reach("publisher.sending")
                if batch:
                    await self._hints.publish(batch)
                if final:
                    await self._hints.announce_final(final)
                await failpoints.reach("publisher.sent")
        except Exception as error:  # whatever it is: this task publishes for as long as the process lives
            if self.healthy:
                _log.warning(
                    "hints.unavailable",
                    error=repr(error),
                    hint="workers find due jobs in PostgreSQL",
                    exc_info=not isinstance(error, RedisError | OSError),
                )
            self._waiting.clear()
            self._final.clear()
            self._closed_until = time.monotonic() + _OPEN_SECONDS
