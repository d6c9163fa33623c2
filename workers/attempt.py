"""One attempt, from its claim to its outcome. Read it from top to bottom: `Attempt.run` is the whole path.

An attempt is over when its code has ended; until then its slot is taken and its row stays RUNNING. It is stopped for
one reason only, the first: its time is up, somebody asked to cancel it, the process drains, or its lease is lost. A
coroutine is then cancelled at its next await, a child process is ended, a thread is only told (`ctx.cancelled`).

Owns the order of things in one attempt. Never writes to PostgreSQL: the outcome goes to the flush.
"""

import asyncio
import contextvars
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import structlog

from db import failpoints
from db.attempts import Claimed
from db.lifecycle import CancelledBy, ErrorKind, runs_isolated
from errander import Context, JobInfo, PayloadInvalid, Registry, SyncContext, Task
from workers import outcomes
from workers.children import ChildNotStarted, Children
from workers.outcomes import Cancelled, Crashed, Failed, GivenBack, Outcome, Succeeded

if TYPE_CHECKING:
    from workers.progress import ProgressBoard

_log = structlog.get_logger("errander.attempt")

UNKNOWN_TASK_SECONDS = 5.0
"""How far ahead a job goes back that this worker cannot run and another may."""
_LONGEST_PATIENCE = 60.0
"""Seconds: a job that workers fail to start again and again is tried once a minute, at the cost of a line of history."""


class Stop(StrEnum):
    """Why an attempt is to end before its code does by itself."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    DRAIN = "drain"
    LOST = "lost"
    CROWDED = "crowded"
    """It was claimed ahead, and no slot became free for it."""


class Host(Protocol):
    """What an attempt needs of its process."""

    registry: Registry
    threads: ThreadPoolExecutor
    thread_slots: asyncio.Semaphore
    children: Children
    progress: "ProgressBoard"

    def may_start(self) -> bool:
        """Whether the lease is fresh enough for code to start."""

    async def another_version_fits(self, task: str, schema_hash: str, payload: str) -> bool:
        """Whether another live worker's version of the task takes this payload."""

    def ended(self, attempt: "Attempt", outcome: Outcome | None) -> None:
        """The attempt is over; None: nothing is to be written about it."""


class Attempt:
    """A claimed job in this process."""

    __slots__ = (
        "_aio_task",
        "_cancellable",
        "_child_kill",
        "_host",
        "begun_at",
        "deadline",
        "id",
        "job",
        "number",
        "outcome",
        "stop_reason",
    )

    def __init__(self, job: Claimed, host: Host) -> None:
        self.id: UUID = job.id
        self.number: int = job.attempt
        self.job = job
        self.begun_at: float | None = None
        """When its code started, by the monotonic clock."""
        self.deadline = float("inf")
        self.stop_reason: Stop | None = None
        self.outcome: Outcome | None = None
        """What it ended with, once it has."""
        self._host = host
        self._aio_task: asyncio.Task[None] | None = None
        self._cancellable = False
        self._child_kill: Callable[[], None] | None = None

    # -- the path ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to run on the current loop."""
        self._aio_task = asyncio.create_task(self.run(), name=f"errander.attempt.{self.id}")

    async def run(self) -> None:
        """Runs the job's code and hands the outcome over. Raises nothing."""
        outcome: Outcome | None
        broken: BaseException | None = None
        try:
            outcome = await self._outcome()
            failpoints.hit("attempt.ended")
        except BaseException as error:  # ours: what the task raises is an outcome
            outcome, broken = self._broken(error), error
        self._cancellable = False
        self.outcome = outcome
        self._host.ended(self, outcome)
        if broken is not None:
            # Its words and its traceback are made here, where nothing can come of it: it may be an error of the task's.
            _log.error(
                "attempt.broken",
                job_id=str(self.id),
                attempt=self.number,
                error=outcomes.described(broken),
                exception=outcomes.traced(broken),
            )

    async def _outcome(self) -> Outcome | None:
        if not self._host.may_start():
            return None  # the roll call gives it back, or the reaper takes it
        task = self._host.registry.get(self.job.task)
        if task is None:
            return GivenBack("this worker does not know the task", begun=False, delay=UNKNOWN_TASK_SECONDS)
        if self.is_isolated:  # its payload is read there too: a validator may be what kills
            return await self._in_child(task, isolated=True)
        context = self._context(task)
        try:
            args, kwargs = task.bind(self.job.payload, context)
        except PayloadInvalid as error:
            return await self._misfit(task, outcomes.words(error))
        except BaseException as error:  # a validator is code of the task's
            return self._raised(error)
        if task.executor == "process":
            return await self._in_child(task, isolated=False)
        if task.executor == "thread":
            return await self._in_thread(task, args, kwargs)
        return await self._on_loop(task, args, kwargs)

    async def _on_loop(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome | None:
        if self.stop_reason is not None:
            return self._stopped()
        self.begin()
        self._cancellable = True
        try:
            value = await task.fn(*args, **kwargs)
        except BaseException as error:
            self._cancellable = False
            return self._raised(error)
        self._cancellable = False
        return self._returned(task, value)

    async def _in_thread(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome | None:
        try:
            self._cancellable = True  # waiting for a thread may be cancelled, the thread may not
            await self._host.thread_slots.acquire()
        except asyncio.CancelledError:
            return self._stopped()
        finally:
            self._cancellable = False
        try:
            if self.stop_reason is not None:
                return self._stopped()
            self.begin()
            context = contextvars.copy_context()
            value, error = await asyncio.get_running_loop().run_in_executor(
                self._host.threads, lambda: context.run(_called, task.fn, args, kwargs)
            )
            return self._returned(task, value) if error is None else self._raised(error)
        finally:
            self._host.thread_slots.release()

    async def _in_child(self, task: Task[..., Any], *, isolated: bool) -> Outcome | None:
        try:
            self._cancellable = True
            child = await self._host.children.acquire(isolated=isolated)
        except asyncio.CancelledError:
            return self._stopped()
        except ChildNotStarted as error:
            delay = max(UNKNOWN_TASK_SECONDS, self._patience())  # another worker may well have what it lacks here
            return GivenBack(outcomes.words(error, 500), begun=False, delay=delay)
        finally:
            self._cancellable = False
        try:
            if self.stop_reason is not None:
                return self._stopped()
            self.begin()
            self._child_kill = child.kill
            answer = await child.run(task, self.info(), self.job.payload, Port(self))
        except ChildNotStarted as error:
            if self.stop_reason is not None:
                return self._stopped()
            return GivenBack(outcomes.words(error, 500), begun=False, delay=self._patience())
        finally:
            self._child_kill = None
            self._host.children.release(child, isolated=isolated)
        if self.stop_reason is not None:
            return self._answered(answer)
        if answer is None:
            return Crashed(f"the child process that ran it died ({child.how_it_ended()})")
        if isinstance(answer, Failed) and answer.kind is ErrorKind.PAYLOAD:
            return await self._misfit(task, answer.message)
        return answer

    async def _misfit(self, task: Task[..., Any], message: str) -> Outcome:
        if await self._host.another_version_fits(task.name, task.schema_hash, self.job.payload):
            return GivenBack("its payload fits another version of the task", begun=False, delay=UNKNOWN_TASK_SECONDS)
        return Failed(ErrorKind.PAYLOAD, "PayloadInvalid", message, final=True)

    def _broken(self, error: BaseException) -> Outcome:
        """What its job pays where the worker itself has failed: nothing, unless its code may have run.

        Code that has run is charged for, or its effects would be repeated for as long as the worker's fault lasts.
        """
        if self.begun_at is not None:
            return outcomes.failure(error)
        return GivenBack(f"the worker failed: {outcomes.described(error)}", begun=False, delay=self._patience())

    def _patience(self) -> float:
        """Seconds until the next try of a job that goes back through no fault of its own: doubled by each free try."""
        free = max(0, self.number - 1 - self.job.failures - self.job.crashes)
        return float(min(_LONGEST_PATIENCE, 2 ** min(free, 10)))

    # -- what it ended with ------------------------------------------------------------------------------------------

    def _returned(self, task: Task[..., Any], value: Any) -> Outcome | None:
        if self.stop_reason is Stop.TIMEOUT or self.stop_reason is Stop.LOST:
            return self._stopped()
        return outcomes.returned(task, value)  # a finish beats a cancel request, and a drain

    def _raised(self, error: BaseException) -> Outcome | None:
        if self.stop_reason is None:
            return outcomes.raised(error)
        return self._stopped()

    def _answered(self, answer: Outcome | None) -> Outcome | None:
        """A child was asked to stop, and what it answered, if it still did."""
        if isinstance(answer, Succeeded) and self.stop_reason is not Stop.LOST:
            return answer
        return self._stopped()

    def _stopped(self) -> Outcome | None:
        match self.stop_reason:
            case Stop.TIMEOUT:
                return self.timed_out()
            case Stop.CANCEL:
                return Cancelled(CancelledBy.CLIENT, None)
            case Stop.DRAIN:
                return GivenBack("its worker drained", begun=self.begun_at is not None)
            case Stop.CROWDED:
                return GivenBack("no slot became free for it", begun=False)
            case _:
                return None

    def timed_out(self) -> Failed:
        """The failure of an attempt whose time is up, or that took the time of all others."""
        if time.monotonic() < self.deadline:
            return Failed(
                ErrorKind.TIMEOUT, "LoopBlocked", "it blocked the worker's event loop: use `def` or a process"
            )
        return Failed(ErrorKind.TIMEOUT, "TimeoutError", f"it ran for longer than {self.job.timeout:g} s")

    # -- stopping ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Its code starts: from here its timeout runs."""
        failpoints.hit("attempt.starting")
        self.begun_at = time.monotonic()
        self.deadline = self.begun_at + self.job.timeout

    def stop(self, reason: Stop) -> None:
        """Ends it as far as that is possible from outside; the first reason counts. On the job loop only."""
        if self.outcome is not None or self.stop_reason is not None:
            return
        self.stop_reason = reason
        if self._child_kill is not None:
            self._child_kill()
        elif self._cancellable and self._aio_task is not None:
            self._aio_task.cancel()

    def decline(self, reason: Stop) -> None:
        """Ends it before it was started; the first reason counts."""
        self.stop_reason = self.stop_reason or reason
        self.outcome = self._stopped()
        self._host.ended(self, self.outcome)

    # -- facts -------------------------------------------------------------------------------------------------------

    @property
    def is_isolated(self) -> bool:
        """Whether the next crash is its last: then it runs in a child process of its own."""
        return runs_isolated(self.job.crashes, self.job.max_crashes)

    def is_task(self, task: "asyncio.Task[Any]") -> bool:
        """Whether `task` is the one that runs it."""
        return task is self._aio_task

    def info(self) -> JobInfo:
        """The facts that its code may read."""
        job = self.job
        metadata: Mapping[str, Any] = json.loads(job.metadata)
        return JobInfo(
            job_id=str(job.id),
            task=job.task,
            attempt=job.attempt,
            failures=job.failures,
            crashes=job.crashes,
            max_attempts=job.max_attempts,
            max_crashes=job.max_crashes,
            timeout=job.timeout,
            idempotency_key=job.idempotency_key or "",
            tags=tuple(json.loads(job.tags)),
            metadata=metadata,
            run_at=job.run_at,
            created_at=job.created_at,
            pool=job.pool,
            priority=job.priority,
        )

    def _context(self, task: Task[..., Any]) -> Context | SyncContext | None:
        kind = task.context_type
        return None if kind is None else kind(self.info(), Port(self))

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Keeps the newest progress for the control thread to write."""
        self._host.progress.put(self.id, self.number, done, total, message)


def _called(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """Calls `fn` in its thread. Errors come back as values: a future cannot carry StopIteration or GeneratorExit."""
    try:
        return fn(*args, **kwargs), None
    except BaseException as error:
        return None, error


class Port:
    """The way from a task's context back into the worker; usable from any thread."""

    __slots__ = ("_attempt", "_logger")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._logger: Any = None

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """Keeps how far the job is."""
        self._attempt.report_progress(done, total, message)

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Writes one line of the job's log to the worker's."""
        if self._logger is None:
            job = self._attempt.job
            self._logger = structlog.get_logger("errander.job").bind(
                job_id=str(job.id), attempt=job.attempt, task=job.task
            )
        write = getattr(self._logger, level)
        try:
            plain = {f"field_{k}" if k in _TAKEN else k: outcomes.log_value(v) for k, v in fields.items()}
            write("job.log", message=outcomes.log_value(message), **plain)
        except Exception:  # of a value that cannot be shown: a line of the log must never fail a job
            write("job.log", message=outcomes.words(message), fields={k: outcomes.words(v) for k, v in fields.items()})

    def cancelled(self) -> bool:
        """Whether the attempt is to stop."""
        return self._attempt.stop_reason is not None


_TAKEN = frozenset(
    {
        *("event", "message", "job_id", "attempt", "task", "level", "logger", "timestamp", "exc_info"),
        *("self", "method_name"),  # parameters of structlog's methods
    }
)
