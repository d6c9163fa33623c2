"""What this process may still let through under one policy, for one identity.

A look at Redis for each request would cost a fifth of a small submit, so a process takes permits from the shared count
in *lots*: as many as it used of late, so that one lot lasts about half a permit's life, and never more than a twentieth of
the quota. The next lot is fetched when half of the last is used. At low rates, with small quotas and towards the end of a
quota a lot is what the requests that wait need, and nothing else: the count is exact.

A permit counts from the moment it is taken, and lapses unused after its life, a tenth of the window or `LIFE_SECONDS`. So
what is let through in any stretch of a window less a permit's life is never more than the quota; a few permits may go
unused.

One fetch at a time: requests that find no permit wait for the one under way, and share it in the order they came.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Any, Final

import structlog

from service.limits.counters import Count, Counters
from service.limits.rates import Rate

_log = structlog.get_logger("errander.limits")

LIFE_SECONDS: Final = 0.25
"""How long a permit may be kept at most."""
LIFE_SHARE: Final = 10
"""It is kept for at most one part in so many of the window."""
SHARE: Final = 20
"""A lot is at most one part in so many of the quota."""
SMALL: Final = 100
"""Of a smaller quota nothing is taken ahead."""
CLOSED_SECONDS: Final = 60.0
"""How long a refusal is believed at most; an emptied Redis or a clock that was set must not close a window for longer."""
_LOOK_SECONDS: Final = 1.0
"""How old what answers say is left may be."""
_TRIES: Final = 4
"""Others may take what was just seen to be left."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Starts a task that somebody owns."""


class Window:
    """Owned by `RateLimits`, for one event loop."""

    def __init__(
        self,
        rate: Rate,
        identity: str,
        counters: Counters,
        spawn: Spawn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self._identity = identity
        self._counters = counters
        self._spawn = spawn
        self._clock = clock
        self._life = life_of(rate)
        self._lots: deque[list[float]] = deque()  # until, permits; the oldest first
        self._low = 0.0
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._fetching = False
        self._left = rate.quota
        self._looked_at = -1e9
        self._asked_at = 0.0
        self._opens_at = clock() + rate.seconds
        self._closed_until = 0.0
        self._used = 0
        self._measured_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether it is known that nothing is left."""
        if not self._closed_until:
            return False
        now = self._clock()
        return now < self._closed_until and all(until <= now for until, _ in self._lots)

    @property
    def remaining(self) -> int:
        """Permits that are left, as far as this process knows."""
        now, left = self._clock(), self._left
        for until, kept in self._lots:
            if until > now:
                left += int(kept)
        return left

    @property
    def opens_in(self) -> int:
        """Whole seconds until there is more, at least 1."""
        return max(1, ceil(self._opens_at - self._clock()))

    @property
    def state(self) -> str:
        """How `RateLimit` says it."""
        return f'"{self.rate.name}";r={self.remaining};t={self.opens_in}'

    def take_one(self) -> bool:
        """Takes a permit that is at hand, if there is one."""
        lots = self._lots
        now = self._clock()
        while lots and lots[0][0] <= now:
            lots.popleft()
        if not lots:
            return False
        lot = lots[0]
        lot[1] -= 1
        self._used += 1
        if lot[1] < self._low and len(lots) == 1:
            self._fetch()
        if not lot[1]:
            lots.popleft()
        return True

    async def take(self, permits: int = 1) -> bool:
        """Takes all of `permits`, or none."""
        if permits == 1 and self.take_one():
            return True
        if self.is_closed:
            return False
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((permits, answer))
        self._fetch()
        return await answer

    def _fetch(self) -> None:
        if not self._fetching:
            self._fetching = True
            self._spawn(self._fetch_while_needed())

    async def _fetch_while_needed(self) -> None:
        """Answers everybody who waits, and everybody who comes meanwhile."""
        waiting: list[tuple[int, asyncio.Future[bool]]] = []
        try:
            while True:
                waiting, self._waiting = self._waiting, []
                self._hand_out(waiting, await self._granted([cost for cost, _ in waiting]))
                if not self._waiting:
                    return
        except Exception:
            _log.exception("limits.failed", policy=self.rate.name)
        finally:
            # Whatever became of it: nobody waits for ever, and no limit fails a request because of itself.
            self._fetching = False
            left, self._waiting = [*waiting, *self._waiting], []
            for _, answer in left:
                if not answer.done():
                    answer.set_result(True)

    async def _granted(self, costs: list[int]) -> int:
        return await self._counters.ask(self.rate, self._identity, lambda count: self._taken(count, costs))

    async def _taken(self, count: Count, costs: list[int]) -> int:
        """Permits taken for those who wait, and for those who come next."""
        self._asked_at = now = self._clock()
        ahead = min(self._lot(now), self._left // 4)
        wanted = sum(costs) + ahead
        granted = 0
        for _ in range(_TRIES):
            if not wanted:
                break
            if await count.take(wanted):
                granted = wanted
                break
            await self._look(count)
            wanted = min(_first_that_fit(costs, self._left), wanted)
        self._left = max(0, self._left - granted)
        if not self._left or now - self._looked_at > min(_LOOK_SECONDS, self.rate.seconds / SHARE):
            await self._look(count)
        self._closed_until = 0.0 if self._left else min(self._clock() + CLOSED_SECONDS, self._opens_at)
        return granted

    async def _look(self, count: Count) -> None:
        self._left, seconds = await count.left()
        self._looked_at = self._clock()
        self._opens_at = self._looked_at + seconds

    def _hand_out(self, waiting: list[tuple[int, asyncio.Future[bool]]], granted: int) -> None:
        for cost, answer in waiting:
            fits = cost <= granted
            if answer.done():
                continue  # who asked has gone away
            answer.set_result(fits)
            if fits:
                granted -= cost
                self._used += cost
        if granted:
            self._lots.append([self._asked_at + self._life, granted])
            self._low = granted / 2

    def _lot(self, now: float) -> int:
        """How many permits are worth taking ahead."""
        if self.rate.quota < SMALL:
            return 0
        lasts = self._life / 2
        elapsed = now - self._measured_at
        lot = int(self._used * lasts / max(elapsed, lasts))
        if elapsed > self._life:
            self._measured_at = now - lasts
            self._used = lot
        return min(lot, self.rate.quota // SHARE)


def life_of(rate: Rate) -> float:
    """How many seconds a permit may be kept. Pure."""
    return min(LIFE_SECONDS, rate.seconds / LIFE_SHARE)


def _first_that_fit(costs: list[int], left: int) -> int:
    """How many permits those of `costs` need who fit into `left`, in their order. Pure."""
    needed = 0
    for cost in costs:
        if needed + cost <= left:
            needed += cost
    return needed
