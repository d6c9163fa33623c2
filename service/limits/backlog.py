"""How many jobs of each tenant wait, at a bounded cost, and how fast they leave.

PostgreSQL counts the queue at most once a second, and then no sooner than after `COST_FACTOR` times what the last count
took; between two counts, what this process has accepted is added. So a number is too low by what other processes have
accepted since the count, and too high by what has left since.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Self

import structlog

from db.errors import DatabaseError

_log = structlog.get_logger("errander.limits")

KEEP_SECONDS: Final = 1.0
"""How long a count is kept at least."""
COST_FACTOR: Final = 20.0
"""How many times longer a count is kept than it took."""
LONGEST_SECONDS: Final = 30.0
"""How long it is kept at most; one that should have been renewed so long ago is waited for."""
_SMOOTH_SECONDS: Final = 10.0
"""Over how long a drain rate is averaged."""


class Taking:
    """Around making `jobs` jobs of a tenant, which count from the beginning. `made` may be set to how many it were."""

    __slots__ = ("_backlog", "_tenant", "jobs", "made")

    def __init__(self, backlog: "Backlog", tenant: str, jobs: int) -> None:
        self._backlog = backlog
        self._tenant = tenant
        self.jobs = jobs
        self.made = jobs

    def __enter__(self) -> Self:
        self._backlog.begin(self._tenant, self.jobs)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._backlog.end(self._tenant, self.jobs, self.made if kind is None else 0)


class Backlog:
    """Owned by a process. `count` asks PostgreSQL."""

    def __init__(
        self, count: Callable[[], Awaitable[Mapping[str, int]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._counted: Mapping[str, int] = {}
        self._drains: dict[str, float] = {}
        self._before: dict[str, int] = {}  # accepted between the last count and the one under way
        self._since: dict[str, int] = {}  # accepted since the last count began
        self._open: dict[str, int] = {}  # about to be accepted
        self._began: float | None = None  # the last count that came to an end
        self._due = -float("inf")
        self._renewal: asyncio.Task[None] | None = None

    @property
    def waiting_of_all(self) -> int:
        """Waiting jobs of all tenants at the last count."""
        return sum(self._counted.values())

    @property
    def fresh_in(self) -> float:
        """Seconds until PostgreSQL is asked again."""
        return max(0.0, self._due - self._clock())

    def drain_of(self, tenant: str) -> float:
        """Jobs of the tenant that left the queue in a second, by the last counts; 0 where none did, or nobody knows yet."""
        return self._drains.get(tenant, 0.0)

    async def waiting(self, tenant: str, *, newest: bool = False) -> int:
        """Waiting jobs of a tenant. With `newest`, of a new count if one is due, which is otherwise made behind the caller.

        Where PostgreSQL cannot count, the last count stands.
        """
        now = self._clock()
        if now >= self._due:
            renewal = self._renew()
            if newest or now > self._due + LONGEST_SECONDS:
                # Shielded: a client that goes away must not take the count from the others who wait for it.
                await asyncio.shield(renewal)
        found = self._counted.get(tenant, 0) + self._since.get(tenant, 0) + self._open.get(tenant, 0)
        return found + self._before.get(tenant, 0)

    def taking(self, tenant: str, jobs: int) -> Taking:
        """Counts jobs that are about to be made, until it is known how many were; none if that fails."""
        return Taking(self, tenant, jobs)

    def begin(self, tenant: str, jobs: int) -> None:
        """So many jobs are about to be made."""
        self._open[tenant] = self._open.get(tenant, 0) + jobs

    def end(self, tenant: str, jobs: int, made: int) -> None:
        """Of those, so many were."""
        self._since[tenant] = self._since.get(tenant, 0) + made
        left = self._open[tenant] - jobs
        if left:
            self._open[tenant] = left
        else:
            del self._open[tenant]

    async def stop(self) -> None:
        """Ends a count that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew(self) -> asyncio.Task[None]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._counted_anew(), name="errander.limits.count")
        return self._renewal

    async def _counted_anew(self) -> None:
        began = self._clock()
        # What is accepted from now on may or may not be counted, and is added: the number is never too low by it.
        self._before, self._since = dict(Counter(self._before) + Counter(self._since)), {}
        try:
            found = await self._count()
        except DatabaseError as error:
            _log.warning("limits.not_counted", error=str(error), hint="the last count stands")
            self._due = self._clock() + KEEP_SECONDS
            return
        if self._began is not None and began > self._began:
            self._measure(found, began - self._began)
        self._counted, self._began = found, began
        self._before = {}
        self._due = began + min(max(KEEP_SECONDS, COST_FACTOR * (self._clock() - began)), LONGEST_SECONDS)

    def _measure(self, found: Mapping[str, int], seconds: float) -> None:
        """What has left is what was there and came, less what is there."""
        weight = min(1.0, seconds / _SMOOTH_SECONDS)
        drains = {}
        for tenant in {*self._counted, *self._before}:
            there = self._counted.get(tenant, 0) + self._before.get(tenant, 0)
            left = max(0, there - found.get(tenant, 0)) / seconds
            former = self._drains.get(tenant)
            drains[tenant] = left if former is None else former + weight * (left - former)
        self._drains = drains
