"""Jobs of a tenant that may wait.

A submit or a replay that would go beyond the limit is refused, and told when to come back: when as many jobs have left the
queue as are too many. A submit whose idempotency key is held makes no job and finds its answer, however full the queue is.

What is known may be a moment old (`service.limits.backlog`): several processes that accept at the same time may together go
beyond the limit by what they accept until the next count.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from math import ceil
from typing import Final, Self

from starlette.types import Scope

from db import idempotency, stats, waiting
from db.engine import Database
from db.errors import DatabaseError
from db.jobs import Accepted
from db.records import JobRecord
from service.fresh import Fresh
from service.http.problems import Problem
from service.limits.backlog import Backlog, Taking
from service.limits.rates import say
from service.settings import ApiSettings
from service.submit.batches import BATCH, Batch
from service.submit.replays import SINGLE, kept_answer
from service.submit.submission import Submission

NAME: Final = "queued-jobs"
"""What answers call this policy."""
SHORTEST_SECONDS: Final = 1
LONGEST_SECONDS: Final = 3600
UNKNOWN_SECONDS: Final = 60
"""When to come back where nothing leaves the queue, or nobody has seen it do so yet."""


class QueueLimit:
    """Owned by a process. `limit` 0 limits nothing; `hours` is how long keys are held.

    `drain_of_all` tells how many jobs of all tenants end in a second: it stands in until this tenant's own rate is known.
    """

    def __init__(
        self,
        limit: int,
        backlog: Backlog,
        database: Database,
        *,
        hours: float,
        drain_of_all: Callable[[], Awaitable[float]],
    ) -> None:
        self._limit = limit
        self._backlog = backlog
        self._database = database
        self._hours = hours
        self._drain_of_all = drain_of_all
        self._policy = f'"{NAME}";q={limit};qu="jobs"'

    @classmethod
    def of(cls, settings: ApiSettings, database: Database, fresh: Fresh) -> Self:
        """The limit of the settings; the drain of all tenants is the one that statistics show."""

        async def drain_of_all() -> float:
            try:
                ended = await fresh.get("ended", lambda: stats.ended(database.link))
            except DatabaseError:
                return 0.0
            return sum(row.last_minute for row in ended.finished) / 60.0

        backlog = Backlog(lambda: waiting.of_tenants(database.link))
        return cls(settings.queue_limit, backlog, database, hours=settings.idempotency_hours, drain_of_all=drain_of_all)

    async def stop(self) -> None:
        """Ends what is under way."""
        await self._backlog.stop()

    async def submit(
        self,
        request_scope: Scope,
        tenant: str,
        submission: Submission,
        accept: Callable[[str, Submission], Awaitable[Accepted | JobRecord]],
    ) -> Accepted | JobRecord:
        """What `accept` answers, or the answer that the submit's key holds. Raises Problem `quota-exceeded`."""
        if not self._limit:
            return await accept(tenant, submission)
        if not await self._fits(request_scope, tenant, 1):
            keyed = submission.job.idempotency_key is not None
            kept = await kept_answer(self._database, tenant, submission, self._hours) if keyed else None
            if kept is None:
                raise await self._refusal(tenant, 1)
            return kept
        with self._backlog.taking(tenant, 1) as taking:
            found = await accept(tenant, submission)
            taking.made = 0 if isinstance(found, JobRecord) else 1
            return found

    @contextlib.asynccontextmanager
    async def room(
        self, request_scope: Scope, tenant: str, jobs: int, batch: Batch | None = None
    ) -> AsyncIterator[Taking]:
        """Around making `jobs` jobs, of which the keys of `batch` may have been used. Raises Problem `quota-exceeded`."""
        if not self._limit:
            yield Taking(self._backlog, tenant, jobs)
            return
        if not await self._fits(request_scope, tenant, jobs):
            new = jobs if batch is None else await self._new_of(tenant, batch)
            if new and (new == jobs or not await self._fits(None, tenant, new)):
                raise await self._refusal(tenant, new)
            jobs = new
        with self._backlog.taking(tenant, jobs) as taking:
            yield taking

    @contextlib.asynccontextmanager
    async def room_for_some(self, request_scope: Scope, tenant: str, jobs: int) -> AsyncIterator[Taking]:
        """Around putting back as many of `jobs` jobs as there is room for, which `Taking.jobs` says.

        Raises Problem `quota-exceeded` where there is room for none.
        """
        if not self._limit or not jobs:
            yield Taking(self._backlog, tenant, jobs)
            return
        free = await self._free(tenant, jobs)
        fitting = min(jobs, free)
        self._say(request_scope, free - fitting)
        if not fitting:
            raise await self._refusal(tenant, 1)
        with self._backlog.taking(tenant, fitting) as taking:
            yield taking

    async def _fits(self, request_scope: Scope | None, tenant: str, jobs: int) -> bool:
        free = await self._free(tenant, jobs)
        fits = jobs <= free
        if request_scope is not None:
            self._say(request_scope, free - jobs * fits)
        return fits

    async def _free(self, tenant: str, jobs: int) -> int:
        """For how many jobs there is room. Too little for `jobs` rests on the newest count, enough waits for none."""
        there = await self._backlog.waiting(tenant)
        if there + jobs > self._limit:
            there = await self._backlog.waiting(tenant, newest=True)
        return max(0, self._limit - there)

    def _say(self, request_scope: Scope, left: int) -> None:
        say(request_scope, self._policy, f'"{NAME}";r={left}')

    async def _new_of(self, tenant: str, batch: Batch) -> int:
        """How many jobs a batch would make, as far as its keys are held at this moment."""
        pairs = {(SINGLE, str(one.job.idempotency_key)) for one in batch.submissions if one.job.idempotency_key}
        whole = (BATCH, batch.key or "")
        asked = sorted(pairs | ({whole} if batch.key else set()))
        found = await idempotency.held(self._database.link, tenant, asked, self._hours)
        held = {pair for pair, holder in found.items() if not holder.expired}
        unkeyed = sum(one.job.idempotency_key is None for one in batch.submissions)
        return 0 if whole in held else unkeyed + len(pairs - held)

    async def _refusal(self, tenant: str, jobs: int) -> Problem:
        there = await self._backlog.waiting(tenant)
        drain = await self._drain(tenant, there)
        seconds = self._seconds(there + jobs - self._limit, drain)
        too_large = " (this batch is larger than that, and never fits)" if jobs > self._limit else ""
        return Problem(
            "quota-exceeded",
            f"{there} jobs of this tenant wait, and at most {self._limit} may{too_large}; "
            f"there is room for {jobs} more in about {seconds} s",
            headers={"Retry-After": str(seconds)},
            waiting=there,
            limit=self._limit,
            drain_per_second=round(drain, 3),
            **{"violated-policies": [NAME]},
        )

    async def _drain(self, tenant: str, there: int) -> float:
        measured = self._backlog.drain_of(tenant)
        if measured > 0:
            return measured
        return await self._drain_of_all() * there / max(1, there, self._backlog.waiting_of_all)

    def _seconds(self, too_many: int, drain: float) -> int:
        """When to come back: never before PostgreSQL counts again, for until then the answer would be the same."""
        wanted = too_many / drain if drain > 0 else UNKNOWN_SECONDS
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, ceil(wanted), ceil(self._backlog.fresh_in)))
