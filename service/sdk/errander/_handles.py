"""A job in the caller's hand: what was last read of it, and what can be done with it."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from . import _job_flows as flows
from ._durations import Duration
from ._errors import JobCancelled, JobFailed
from ._events import awatch_job, watch_job
from ._explain import Explanation, explain
from ._models import HistoryEntry, Job, JobError, Progress
from ._new_job import Payload
from ._runner import AsyncRunner, Runner
from ._waiting import wait


class _View:
    """The job as it was last read; nothing here asks the API. `data` has every field."""

    def __init__(self, data: Job) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.task} {self.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _View) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """The job's id."""
        return self.data.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.data.task

    @property
    def status(self) -> str:
        """WAITING, PENDING, RUNNING, RETRYING, SUCCESS, FAILED or CANCELLED, or what a newer server says."""
        return self.data.status

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.data.is_final

    @property
    def payload(self) -> dict[str, Any]:
        """What the task is called with."""
        return self.data.payload

    @property
    def pool(self) -> str:
        """The pool it runs in."""
        return self.data.pool

    @property
    def priority(self) -> str:
        """`high`, `default` or `low`."""
        return self.data.priority

    @property
    def attempt(self) -> int:
        """How many times it was started."""
        return self.data.attempt

    @property
    def failures(self) -> int:
        """How many of its attempts failed."""
        return self.data.failures

    @property
    def crashes(self) -> int:
        """How many of its attempts were lost with their process."""
        return self.data.crashes

    @property
    def attempts_left(self) -> int | None:
        """How many more failures it may have."""
        return self.data.attempts_left

    @property
    def run_at(self) -> datetime | None:
        """The earliest next start."""
        return self.data.run_at

    @property
    def created_at(self) -> datetime | None:
        """When it was accepted."""
        return self.data.created_at

    @property
    def started_at(self) -> datetime | None:
        """The start of the last attempt."""
        return self.data.started_at

    @property
    def finished_at(self) -> datetime | None:
        """The end of the job."""
        return self.data.finished_at

    @property
    def error(self) -> JobError | None:
        """The last failure."""
        return self.data.error

    @property
    def errors(self) -> list[JobError]:
        """The last 20 failures, oldest first."""
        return self.data.errors

    @property
    def progress(self) -> Progress | None:
        """How far it says it is."""
        return self.data.progress

    @property
    def cancelled_by(self) -> str | None:
        """What cancelled it: client, task, expired, …"""
        return self.data.cancelled_by

    @property
    def cancel_reason(self) -> str | None:
        """Why it was cancelled, where somebody said."""
        return self.data.cancel_reason

    @property
    def idempotency_key(self) -> str | None:
        """The key it was submitted with."""
        return self.data.idempotency_key

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return self.data.tags

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata."""
        return self.data.metadata

    def _result(self) -> Any:
        """The result of a job that is final."""
        if self.status == "FAILED":
            raise JobFailed(self.data)
        if self.status == "CANCELLED":
            raise JobCancelled(self.data)
        return self.data.result


class JobHandle(_View):
    """A job, with calls that block. Each call leaves the handle with what the API answered."""

    def __init__(self, data: Job, runner: Runner) -> None:
        super().__init__(data)
        self._runner = runner

    def refresh(self) -> "JobHandle":
        """Read the job again."""
        self.data = self._runner.run(flows.get(self._runner.core, self.id))
        return self

    def wait(self, timeout: Duration | None = None) -> "JobHandle":
        """Wait until the job is final. Raises `WaitTimeout` after `timeout` (seconds or `timedelta`; None: never)."""
        self.data = self._runner.run(wait(self._runner.core, self.data, timeout))
        return self

    def result(self, timeout: Duration | None = None) -> Any:
        """Wait, then give the result. Raises `JobFailed`, `JobCancelled`, `WaitTimeout` (the job goes on)."""
        self.wait(timeout)
        return self._result()

    def cancel(self, reason: str | None = None) -> "JobHandle":
        """Ask to cancel; a running job may take a moment, or finish first. Raises `JobAlreadyFinal`."""
        self.data = self._runner.run(flows.cancel(self._runner.core, self.id, reason))
        return self

    def replay(
        self, *, payload: Payload | None = None, delay: Duration | None = None, max_attempts: int | None = None
    ) -> "JobHandle":
        """Put a FAILED or CANCELLED job back, with fresh budgets. Raises `NotReplayable`."""
        flow = flows.replay(self._runner.core, self.id, payload=payload, delay=delay, max_attempts=max_attempts)
        self.data = self._runner.run(flow)
        return self

    def run_now(self) -> "JobHandle":
        """Make a waiting job due now. Raises `JobNotWaiting`."""
        self.data = self._runner.run(flows.run_now(self._runner.core, self.id))
        return self

    def history(self) -> list[HistoryEntry]:
        """What happened to the job, oldest first."""
        return self._runner.run(flows.history(self._runner.core, self.id))

    def events(self) -> Iterator[Job]:
        """The job's state now, and every state it comes to, until it is final; over broken connections too.

        The handle stays as it is: `result()` or `refresh()` read what the states leave out.
        """
        return watch_job(self._runner, self.id)

    def explain(self) -> Explanation:
        """Why the job is not running, in words and fields."""
        return self._runner.run(explain(self._runner.core, self.id))


class AsyncJobHandle(_View):
    """A job, with calls to await. Each call leaves the handle with what the API answered."""

    def __init__(self, data: Job, runner: AsyncRunner) -> None:
        super().__init__(data)
        self._runner = runner

    async def refresh(self) -> "AsyncJobHandle":
        """Read the job again."""
        self.data = await self._runner.run(flows.get(self._runner.core, self.id))
        return self

    async def wait(self, timeout: Duration | None = None) -> "AsyncJobHandle":
        """Wait until the job is final. Raises `WaitTimeout` after `timeout` (seconds or `timedelta`; None: never)."""
        self.data = await self._runner.run(wait(self._runner.core, self.data, timeout))
        return self

    async def result(self, timeout: Duration | None = None) -> Any:
        """Wait, then give the result. Raises `JobFailed`, `JobCancelled`, `WaitTimeout` (the job goes on)."""
        await self.wait(timeout)
        return self._result()

    async def cancel(self, reason: str | None = None) -> "AsyncJobHandle":
        """Ask to cancel; a running job may take a moment, or finish first. Raises `JobAlreadyFinal`."""
        self.data = await self._runner.run(flows.cancel(self._runner.core, self.id, reason))
        return self

    async def replay(
        self, *, payload: Payload | None = None, delay: Duration | None = None, max_attempts: int | None = None
    ) -> "AsyncJobHandle":
        """Put a FAILED or CANCELLED job back, with fresh budgets. Raises `NotReplayable`."""
        flow = flows.replay(self._runner.core, self.id, payload=payload, delay=delay, max_attempts=max_attempts)
        self.data = await self._runner.run(flow)
        return self

    async def run_now(self) -> "AsyncJobHandle":
        """Make a waiting job due now. Raises `JobNotWaiting`."""
        self.data = await self._runner.run(flows.run_now(self._runner.core, self.id))
        return self

    async def history(self) -> list[HistoryEntry]:
        """What happened to the job, oldest first."""
        return await self._runner.run(flows.history(self._runner.core, self.id))

    def events(self) -> AsyncIterator[Job]:
        """The job's state now, and every state it comes to, until it is final; over broken connections too.

        The handle stays as it is: `result()` or `refresh()` read what the states leave out.
        """
        return awatch_job(self._runner, self.id)

    async def explain(self) -> Explanation:
        """Why the job is not running, in words and fields."""
        return await self._runner.run(explain(self._runner.core, self.id))
