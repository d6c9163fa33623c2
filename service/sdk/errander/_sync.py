"""`Client`: the whole service by blocking calls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from . import _job_flows as flows
from ._audit import Audit
from ._backoff import Backoff
from ._batches import Batcher, submit_batch
from ._consistency import Consistency
from ._core import Core
from ._dead_letter import DeadLetter
from ._durations import Duration
from ._events import watch_jobs
from ._filters import JobFilter
from ._handles import JobHandle
from ._jobs import Jobs
from ._keys import Keys
from ._models import Job, Readiness, Stats, Version
from ._new_job import NewJob, Payload
from ._queues import Queues
from ._runner import Runner
from ._settings import resolve_token, resolve_url
from ._task import Priority, Task
from ._tasks import Tasks
from ._transport import HttpTransport
from ._wire import Transport
from ._workers import Workers


class Client:
    """Submits jobs and operates the service by blocking calls.

    `base_url` and `token` come from the arguments, else from `ERRANDER_URL` and `ERRANDER_TOKEN`, else
    `http://127.0.0.1:8000` and none. `timeout` is seconds for one request; `retries` is how often a request is tried
    again where that is safe. `transport` replaces the network: a `Transport` such as
    `errander.testing.FakeErrander`, or a transport of httpx.

    By noun: `jobs`, `queues`, `tasks`, `workers`, `dead_letter`, `keys`, `audit`. Close it, or use it in `with`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
        transport: Transport | httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = resolve_url(base_url)
        if transport is None or isinstance(transport, httpx.BaseTransport):
            transport = HttpTransport(self.base_url, resolve_token(token), inner=transport)
        self._transport: Transport = transport
        self._runner = Runner(Core(retries=retries, timeout=timeout), transport)
        self.jobs = Jobs(self._runner)
        self.queues = Queues(self._runner)
        self.tasks = Tasks(self._runner)
        self.workers = Workers(self._runner)
        self.dead_letter = DeadLetter(self._runner)
        self.keys = Keys(self._runner)
        self.audit = Audit(self._runner)

    def __repr__(self) -> str:
        return f"<Client {self.base_url}>"  # never the token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._transport.close()

    def submit(
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
    ) -> JobHandle:
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
        return JobHandle(self._runner.run(flows.submit(self._runner.core, job, wait=wait)), self._runner)

    def submit_many(self, jobs: Iterable[NewJob]) -> list[JobHandle]:
        """Submit many jobs, in requests of up to 10,000; the handles come in the same order.

        Each request is one transaction: all of it or nothing. When a later one is refused, `error.accepted` has the
        ids of the jobs that are already kept, and pointers such as `/jobs/17/payload` count from the first of `jobs`.
        The handles hold id, status and task until they are refreshed.
        """
        accepted: list[Job] = []
        batcher = Batcher()
        for job in jobs:
            for batch, content in batcher.add(job):
                accepted += self._runner.run(submit_batch(self._runner.core, batch, content, accepted))
        for batch, content in batcher.rest():
            accepted += self._runner.run(submit_batch(self._runner.core, batch, content, accepted))
        return [JobHandle(job, self._runner) for job in accepted]

    def events(self, **filters: Unpack[JobFilter]) -> Iterator[Job]:
        """The jobs that fit `filters` as they change: the newest 50 first, then every state that one comes to.

        Goes on over broken connections, without an end. Raises `EventsLost` where the server had to leave some out, and
        what it refuses. A job that has left the filter comes once more. States have no payload, result and errors.
        """
        return watch_jobs(self._runner, filters)

    def stats(self) -> Stats:
        """Counts over the whole service."""
        return self._runner.run(self._runner.core.read(Stats, "/v1/stats"))

    def consistency(self) -> Consistency:
        """Whether what is stored obeys its own rules; a look at most ten seconds old."""
        return self._runner.run(self._runner.core.read(Consistency, "/v1/consistency"))

    def ready(self) -> Readiness:
        """Whether the service can work. An answer that says no is no error; no answer is `ConnectionFailed`."""
        return self._runner.run(self._runner.core.read_any_status(Readiness, "/readyz"))

    def version(self) -> Version:
        """The server's release."""
        return self._runner.run(self._runner.core.read(Version, "/v1/version"))
