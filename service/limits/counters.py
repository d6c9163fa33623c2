"""The shared counts, in Redis; and counts of this process alone while Redis is away.

Two ways of counting of the library `limits`. Up to `EXACT` requests a window the moment of each is kept, so that no window
has more than its quota, wherever it begins (about 20 bytes each). Above that two numbers are kept, of this window and of
the one before, and the earlier one is taken to be spread evenly.

Nobody waits for Redis longer than `CALL_SECONDS`. A call that fails opens the breaker: from then on everybody is counted
here, at once, and one task asks every `PROBE_SECONDS` whether Redis is back.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from service.limits.rates import Rate
from workers.redis_client import connect

_log = structlog.get_logger("errander.limits")

T = TypeVar("T")

PREFIX: Final = "errander:limit"
"""What the keys begin with. What follows is the policy, a digest of whom it counts, and the rate."""
CALL_SECONDS: Final = 0.05
"""How long a request may wait for Redis."""
PROBE_SECONDS: Final = 1.0
"""How often Redis is asked whether it is back."""
EXACT: Final = 1_000
"""The largest quota of which every request's moment is kept."""
_CALLS: Final = 8
"""Calls at the same time: each has a connection of its own."""
_STOP_SECONDS: Final = 1.0


class Count:
    """One policy's count for one identity, in Redis or here: what `Counters.ask` hands out."""

    def __init__(self, limiter: RateLimiter, rate: Rate, identity: str) -> None:
        self._limiter = limiter
        self._rate = rate
        self._identity = identity

    async def take(self, permits: int) -> bool:
        """Takes all of `permits`, or none."""
        return await self._limiter.hit(self._rate.item, self._identity, cost=permits)

    async def left(self) -> tuple[int, float]:
        """Permits that are left in the window, and seconds until there is at least one more."""
        stats = await self._limiter.get_window_stats(self._rate.item, self._identity)
        seconds = max(0.0, stats.reset_time - time.time())
        if stats.remaining <= 0 and isinstance(self._limiter, SlidingWindowCounterRateLimiter):
            # A window that has just become the earlier one counts in full at first.
            seconds += self._rate.seconds / self._rate.quota
        return max(0, stats.remaining), seconds


class Counters:
    """Owned by a process. `patience` is how long a request may wait for Redis, in seconds."""

    def __init__(self, redis_url: str, *, patience: float = CALL_SECONDS) -> None:
        self._patience = patience
        self._redis = connect(redis_url)
        shared = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=self._redis.connection_pool,  # type: ignore[arg-type]  # documented, not annotated
        )
        self._exact = MovingWindowRateLimiter(shared)
        self._estimated = SlidingWindowCounterRateLimiter(shared)
        self._memory = MemoryStorage()
        self._own = SlidingWindowCounterRateLimiter(self._memory)
        self._turns = asyncio.Semaphore(_CALLS)
        self._calls: set[asyncio.Task[Any]] = set()
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether the counts are those in Redis."""
        return self._probing is None

    async def ask(self, rate: Rate, identity: str, question: Callable[[Count], Coroutine[Any, Any, T]]) -> T:
        """What `question` answers about the count in Redis, or about the one here while Redis is away."""
        if self.is_shared:
            async with self._turns:
                if self.is_shared:  # it may have gone away while this one waited for its turn
                    with contextlib.suppress(RedisError, OSError, TimeoutError):
                        return await self._ask_redis(rate, identity, question)
        return await question(Count(self._own, rate, identity))

    async def stop(self) -> None:
        """Ends what is under way and closes the connections."""
        tasks = [task for task in (self._probing, self._memory.timer, *self._calls) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            # Bounded: redis-py can lose a cancellation while it connects.
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._redis.aclose()

    async def _ask_redis(self, rate: Rate, identity: str, question: Callable[[Count], Coroutine[Any, Any, T]]) -> T:
        limiter = self._exact if rate.quota <= EXACT else self._estimated
        call = asyncio.create_task(question(Count(limiter, rate, identity)), name="errander.limits.call")
        self._calls.add(call)
        call.add_done_callback(self._ended)
        late = {call}
        busy = True
        while late and busy:
            asked = time.monotonic()
            # Waited for from outside, because a cancellation may be lost.
            _, late = await asyncio.wait({call}, timeout=self._patience)
            # If this process was busy itself for as long, the answer may be there and nobody has looked.
            busy = time.monotonic() - asked > 2 * self._patience
        if late:
            call.cancel()
            self._lost(f"no answer in {self._patience:g} s")
            raise TimeoutError
        try:
            return call.result()
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(repr(error))
            raise

    def _lost(self, error: str) -> None:
        if self._probing is None:
            _log.warning("limits.redis_unavailable", error=error, hint="each process counts for itself")
            self._probing = asyncio.create_task(self._probe(), name="errander.limits.probe")

    def _ended(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # whoever waited has seen it, or waits no more

    async def _probe(self) -> None:
        """Ends when Redis answers again, on all connections: opening one may take longer than a request may wait."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            pings = (self._redis.ping() for _ in range(_CALLS))
            answers = await asyncio.gather(*pings, return_exceptions=True)
            wrong = [answer for answer in answers if isinstance(answer, BaseException)]
            if not wrong:
                break
            _log.debug("limits.redis_probed", error=repr(wrong[0]))
        self._probing = None
        _log.info("limits.redis_available")
