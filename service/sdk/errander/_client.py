"""`AsyncClient`: the whole service by awaited calls."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from . import _job_flows as flows
from ._audit import AsyncAudit
from ._backoff import Backoff
from ._batches import Batcher, submit_batch
from ._consistency import Consistency
from ._core import Core
from ._dead_letter import AsyncDeadLetter
from ._durations import Duration
from ._events import awatch_jobs
from ._filters import JobFilter
from ._handles import AsyncJobHandle
from ._jobs import AsyncJobs
from ._keys import AsyncKeys
from ._models import Job, Readiness, Stats, Version
from ._new_job import NewJob, Payload
from ._queues import AsyncQueues
from ._runner import AsyncRunner
from ._settings import resolve_token, resolve_url
from ._task import Priority, Task
from ._tasks import AsyncTasks
from ._transport import AsyncHttpTransport
from ._wire import AsyncTransport
from ._workers import AsyncWorkers


class AsyncClient:
    """Submits jobs and operates the service by awaited calls.

    `base_url` and `token` come from the arguments, else from `ERRANDER_URL` and `ERRANDER_TOKEN`, else
    `http://127.0.0.1:8000` and none. `timeout` is seconds for one request; `retries` is how often a request is tried
    again where that is safe. `transport` replaces the network: an `AsyncTransport` such as
    `errander.testing.FakeErrander`, or a transport of httpx.

    By noun: `jobs`, `queues`, `tasks`, `workers`, `dead_letter`, `keys`, `audit`. Close it, or use it in `async with`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
        transport: AsyncTransport | httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = resolve_url(base_url)
        if transport is None or isinstance(transport, httpx.AsyncBaseTransport):
            transport = AsyncHttpTransport(self.base_url, resolve_token(token), inner=transport)
        self._transport: AsyncTransport = transport
        self._runner = AsyncRunner(Core(retries=retries, timeout=timeout), transport)
        self.jobs = AsyncJobs(self._runner)
        self.queues = AsyncQueues(self._runner)
        self.tasks = AsyncTasks(self._runner)
        self.workers = AsyncWorkers(self._runner)
        self.dead_letter = AsyncDeadLetter(self._runner)
        self.keys = AsyncKeys(self._runner)
        self.audit = AsyncAudit(self._runner)

    def __repr__(self) -> str:
        return f"<AsyncClient {self.base_url}>"  # never the token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._transport.aclose()

    async def submit(
        self,
        task: str | Task[..., Any],
        payload: Payload | None = None,
        *,
        priority: Priority | None = None,
        pool: str | None = None,
        run_at: datetime | None = None,
        delay: Duration | None = None,
        expires_at: datetime | None = None,
        expires_in: Duration | None = None,
        max_attempts: int | None = None,
        max_crashes: int | None = None,
        timeout: Duration | None = None,
        backoff: Backoff | Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        wait: Duration | None = None,
    ) -> AsyncJobHandle:
        """Submit one job; when this returns, it is kept. Durations are seconds or `timedelta`, times are aware.

        What is not given comes from the task's declaration, else from the server. The same `idempotency_key` never
        makes a second job; one is made up where none is given, so that trying again is safe. `wait` (at most 30 s)
        waits for the job to be final and returns in any case. Raises `TaskNotKnown`, `ValidationFailed`,
        `IdempotencyKeyReused` and the rest of `ApiError`.
        """
        job = NewJob(
            task,
            payload,
            priority=priority,
            pool=pool,
            run_at=run_at,
            delay=delay,
            expires_at=expires_at,
            expires_in=expires_in,
            max_attempts=max_attempts,
            max_crashes=max_crashes,
            timeout=timeout,
            backoff=backoff,
            tags=tags,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        return AsyncJobHandle(await self._runner.run(flows.submit(self._runner.core, job, wait=wait)), self._runner)

    async def submit_many(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> list[AsyncJobHandle]:
        """Submit many jobs, in requests of up to 10,000; the handles come in the same order.

        Each request is one transaction: all of it or nothing. When a later one is refused, `error.accepted` has the
        ids of the jobs that are already kept, and pointers such as `/jobs/17/payload` count from the first of `jobs`.
        The handles hold id, status and task until they are refreshed.
        """
        accepted: list[Job] = []
        batcher = Batcher()
        async for job in _each(jobs):
            for batch, content in batcher.add(job):
                accepted += await self._runner.run(submit_batch(self._runner.core, batch, content, accepted))
        for batch, content in batcher.rest():
            accepted += await self._runner.run(submit_batch(self._runner.core, batch, content, accepted))
        return [AsyncJobHandle(job, self._runner) for job in accepted]

    def events(self, **filters: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """The jobs that fit `filters` as they change: the newest 50 first, then every state that one comes to.

        Goes on over broken connections, without an end. Raises `EventsLost` where the server had to leave some out, and
        what it refuses. A job that has left the filter comes once more. States have no payload, result and errors.
        """
        return awatch_jobs(self._runner, filters)

    async def stats(self) -> Stats:
        """Counts over the whole service."""
        return await self._runner.run(self._runner.core.read(Stats, "/v1/stats"))

    async def consistency(self) -> Consistency:
        """Whether what is stored obeys its own rules; a look at most ten seconds old."""
        return await self._runner.run(self._runner.core.read(Consistency, "/v1/consistency"))

    async def ready(self) -> Readiness:
        """Whether the service can work. An answer that says no is no error; no answer is `ConnectionFailed`."""
        return await self._runner.run(self._runner.core.read_any_status(Readiness, "/readyz"))

    async def version(self) -> Version:
        """The server's release."""
        return await self._runner.run(self._runner.core.read(Version, "/v1/version"))


async def _each(jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncIterator[NewJob]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
