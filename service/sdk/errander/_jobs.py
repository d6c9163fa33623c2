"""`client.jobs`: find jobs, and act on them one by one or many at a time."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Unpack

from . import _job_flows as flows
from ._durations import Duration
from ._events import awatch_job, watch_job
from ._explain import Explanation, explain
from ._filters import JobFilter
from ._handles import AsyncJobHandle, JobHandle
from ._job_flows import JobEdit, PageReader
from ._models import Changed, HistoryEntry, Job
from ._new_job import Payload
from ._runner import AsyncRunner, Runner
from ._wire import Flow

_PATH = "/v1/jobs"


class Jobs:
    """Jobs, with calls that block. A job that is not there raises `NotFound`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def get(self, job_id: str) -> JobHandle:
        """One job."""
        return self._handle(flows.get(self._runner.core, job_id))

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        include: str = "",
        **filters: Unpack[JobFilter],
    ) -> Iterator[JobHandle]:
        """Jobs that fit `filters`, newest first, at most `limit`; pages are read as the iteration goes on.

        Listed jobs have no payload, result and errors, unless `include="payload,result,errors"` names them.
        `page_size` is 1 to 200.
        """
        reader = flows.pages(self._runner.core, _PATH, filters, include, page_size)
        return iterate(self._runner, reader, limit)

    def cancel(self, job_id: str, reason: str | None = None) -> JobHandle:
        """Ask to cancel; a running job may take a moment, or finish first. Raises `JobAlreadyFinal`."""
        return self._handle(flows.cancel(self._runner.core, job_id, reason))

    def replay(
        self,
        job_id: str,
        *,
        payload: Payload | None = None,
        delay: Duration | None = None,
        max_attempts: int | None = None,
    ) -> JobHandle:
        """Put a FAILED or CANCELLED job back, with fresh budgets. Raises `NotReplayable`."""
        flow = flows.replay(self._runner.core, job_id, payload=payload, delay=delay, max_attempts=max_attempts)
        return self._handle(flow)

    def run_now(self, job_id: str) -> JobHandle:
        """Make a waiting job due now. Raises `JobNotWaiting`."""
        return self._handle(flows.run_now(self._runner.core, job_id))

    def history(self, job_id: str) -> Sequence[HistoryEntry]:
        """What happened to a job, oldest first."""
        return self._runner.run(flows.history(self._runner.core, job_id))

    def watch(self, job_id: str) -> Iterator[Job]:
        """The job's state now, and every state it comes to, until it is final; over broken connections too.

        States have no payload, result and errors; read the job for them.
        """
        return watch_job(self._runner, job_id)

    def explain(self, job_id: str) -> Explanation:
        """Why a job is not running, in words and fields."""
        return self._runner.run(explain(self._runner.core, job_id))

    def edit(self, job_id: str, **fields: Unpack[JobEdit]) -> JobHandle:
        """Change the given fields of a job that waits. Raises `JobNotWaiting`, `ValidationFailed`."""
        return self._handle(flows.edit(self._runner.core, job_id, fields))

    def cancel_many(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Ask to cancel all jobs that fit `filters`, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return self._runner.run(
            flows.bulk(core, f"{_PATH}/cancel", filters, dry_run=dry_run, limit=limit, reason=reason)
        )

    def replay_many(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Put all jobs that fit `filters` back, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return self._runner.run(
            flows.bulk(core, f"{_PATH}/replay", filters, dry_run=dry_run, limit=limit, reason=reason)
        )

    def _handle(self, flow: Flow[Job]) -> JobHandle:
        return JobHandle(self._runner.run(flow), self._runner)


class AsyncJobs:
    """Jobs, with calls to await. A job that is not there raises `NotFound`."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def get(self, job_id: str) -> AsyncJobHandle:
        """One job."""
        return await self._handle(flows.get(self._runner.core, job_id))

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        include: str = "",
        **filters: Unpack[JobFilter],
    ) -> AsyncIterator[AsyncJobHandle]:
        """Jobs that fit `filters`, newest first, at most `limit`; pages are read as the iteration goes on.

        Listed jobs have no payload, result and errors, unless `include="payload,result,errors"` names them.
        `page_size` is 1 to 200.
        """
        reader = flows.pages(self._runner.core, _PATH, filters, include, page_size)
        return aiterate(self._runner, reader, limit)

    async def cancel(self, job_id: str, reason: str | None = None) -> AsyncJobHandle:
        """Ask to cancel; a running job may take a moment, or finish first. Raises `JobAlreadyFinal`."""
        return await self._handle(flows.cancel(self._runner.core, job_id, reason))

    async def replay(
        self,
        job_id: str,
        *,
        payload: Payload | None = None,
        delay: Duration | None = None,
        max_attempts: int | None = None,
    ) -> AsyncJobHandle:
        """Put a FAILED or CANCELLED job back, with fresh budgets. Raises `NotReplayable`."""
        flow = flows.replay(self._runner.core, job_id, payload=payload, delay=delay, max_attempts=max_attempts)
        return await self._handle(flow)

    async def run_now(self, job_id: str) -> AsyncJobHandle:
        """Make a waiting job due now. Raises `JobNotWaiting`."""
        return await self._handle(flows.run_now(self._runner.core, job_id))

    async def history(self, job_id: str) -> Sequence[HistoryEntry]:
        """What happened to a job, oldest first."""
        return await self._runner.run(flows.history(self._runner.core, job_id))

    def watch(self, job_id: str) -> AsyncIterator[Job]:
        """The job's state now, and every state it comes to, until it is final; over broken connections too.

        States have no payload, result and errors; read the job for them.
        """
        return awatch_job(self._runner, job_id)

    async def explain(self, job_id: str) -> Explanation:
        """Why a job is not running, in words and fields."""
        return await self._runner.run(explain(self._runner.core, job_id))

    async def edit(self, job_id: str, **fields: Unpack[JobEdit]) -> AsyncJobHandle:
        """Change the given fields of a job that waits. Raises `JobNotWaiting`, `ValidationFailed`."""
        return await self._handle(flows.edit(self._runner.core, job_id, fields))

    async def cancel_many(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Ask to cancel all jobs that fit `filters`, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return await self._runner.run(
            flows.bulk(core, f"{_PATH}/cancel", filters, dry_run=dry_run, limit=limit, reason=reason)
        )

    async def replay_many(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Put all jobs that fit `filters` back, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return await self._runner.run(
            flows.bulk(core, f"{_PATH}/replay", filters, dry_run=dry_run, limit=limit, reason=reason)
        )

    async def _handle(self, flow: Flow[Job]) -> AsyncJobHandle:
        return AsyncJobHandle(await self._runner.run(flow), self._runner)


def iterate(runner: Runner, reader: PageReader, limit: int | None) -> Iterator[JobHandle]:
    """The jobs of a list, page after page, at most `limit`."""
    left = limit
    while not reader.done and left != 0:
        for job in runner.run(reader.next_page()):
            if left == 0:
                return
            yield JobHandle(job, runner)
            left = None if left is None else left - 1


async def aiterate(runner: AsyncRunner, reader: PageReader, limit: int | None) -> AsyncIterator[AsyncJobHandle]:
    """The jobs of a list, page after page, at most `limit`."""
    left = limit
    while not reader.done and left != 0:
        for job in await runner.run(reader.next_page()):
            if left == 0:
                return
            yield AsyncJobHandle(job, runner)
            left = None if left is None else left - 1
