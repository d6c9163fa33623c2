"""One attempt of a task, here and now, ended by the same rules as on a worker.

A `def` runs in a thread, one for a process too: isolation is the worker's matter. Jitter is left out, so that `defer`
is the same in every run.
"""

import asyncio
import contextlib
import json
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._backoff import Backoff, Exponential, parse_backoff
from .._context import Context, JobInfo, SyncContext
from .._errors import PayloadInvalid, ResultInvalid
from .._registry import Registry, registry
from .._signals import Cancel, Cancelled, Fail, Retry, Snooze
from .._task import Task


class ProgressMark(NamedTuple):
    """One call of `ctx.progress`."""

    done: float
    total: float | None
    message: str | None


class LogLine(NamedTuple):
    """One line of `ctx.log`."""

    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """How one attempt ended.

    `status` is what the job would be then: SUCCESS, FAILED, CANCELLED, RETRYING (waits after a failure) or PENDING
    (snoozed, and it never failed). `defer` is the wait before the next start in seconds, where there is one. `result`
    went through JSON, as a client would see it. `error` has `kind`, `type`, `message` and `traceback`; `exception` is
    what was raised. `failures` counts this attempt too.
    """

    status: str
    result: Any = None
    defer: float | None = None
    error: dict[str, Any] | None = None
    exception: BaseException | None = None
    reason: str | None = None
    failures: int = 0
    progress: list[ProgressMark] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)


class RecordingPort:
    """An `AttemptPort` that keeps what it is told, and lets a test ask to cancel."""

    def __init__(self, *, cancel_requested: bool = False) -> None:
        self.marks: list[ProgressMark] = []
        self.lines: list[LogLine] = []
        self.cancel_requested = cancel_requested
        self.timed_out = False

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """Keep one mark."""
        self.marks.append(ProgressMark(done, total, message))

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Keep one line."""
        self.lines.append(LogLine(level, message, dict(fields)))

    def cancelled(self) -> bool:
        """Whether the attempt should stop."""
        return self.cancel_requested or self.timed_out


async def run(
    task: Task[..., Any] | str,
    payload: Mapping[str, Any] | None = None,
    *,
    backoff: Backoff | None = None,
    cancel_requested: bool = False,
    registry: Registry = registry,
    **info: Any,
) -> Outcome:
    """Run one attempt of `task` (a task, or its name in `registry`) with `payload`, a mapping of JSON values.

    `info` sets fields of `JobInfo`: `attempt`, `failures`, `max_attempts`, `timeout`, `tags` and so on; what is not
    given comes from the task's declaration. `cancel_requested=True` is a job that somebody asked to cancel. Never
    raises for what the task does; raises `UnknownTask` for a name nobody has.
    """
    found = registry[task] if isinstance(task, str) else task
    declared = found.defaults()
    values: dict[str, Any] = {"job_id": str(uuid.uuid4()), "task": found.name}
    values |= {name: declared[name] for name in ("priority", "pool", "max_attempts", "timeout") if name in declared}
    facts = JobInfo(**(values | info))
    waits = backoff or (parse_backoff(declared["backoff"]) if "backoff" in declared else Exponential())
    port = RecordingPort(cancel_requested=cancel_requested)
    outcome = await _attempt(found, payload or {}, facts, port, waits)
    outcome.progress, outcome.logs = port.marks, port.lines
    return outcome


async def _attempt(
    task: Task[..., Any], payload: Mapping[str, Any], facts: JobInfo, port: RecordingPort, waits: Backoff
) -> Outcome:
    context = (Context if task.executor == "loop" else SyncContext)(facts, port)
    try:
        args, kwargs = task.bind(payload, context)
    except PayloadInvalid as error:
        return Outcome("FAILED", error=_described("payload", error), exception=error, failures=facts.failures + 1)
    try:
        value = await _call(task, args, kwargs, port, facts.timeout)
        if not port.timed_out:
            return Outcome("SUCCESS", result=json.loads(task.dump_result(value)), failures=facts.failures)
        raised: BaseException = TimeoutError(f"timed out after {facts.timeout:g} s")
    except (Exception, Cancelled, SystemExit) as error:  # whatever a task raises is its outcome
        raised = error
    return _ended(raised, facts, port, waits)


async def _call(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], port: RecordingPort, timeout: float | None
) -> Any:
    """Call the function and wait for its end, telling it to stop when its time is over."""
    on_loop = task.executor == "loop"
    running: asyncio.Task[Any] = asyncio.create_task(
        _guarded(task.fn(*args, **kwargs) if on_loop else asyncio.to_thread(_in_thread, task, args, kwargs))
    )
    try:
        done, _ = await asyncio.wait({running}, timeout=timeout)
        if not done:
            port.timed_out = True
            if on_loop:
                running.cancel()
            await asyncio.wait({running})  # an attempt is over when its code has ended, not before
    except asyncio.CancelledError:  # of the test itself
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        raise
    if running.cancelled():
        raise RuntimeError("the task was cancelled from inside")
    value, error = running.result()
    if error is not None:
        raise error
    return value


async def _guarded(call: Any) -> tuple[Any, BaseException | None]:
    """Await `call` and hand its exception back as a value: asyncio lets some of them tear the loop down otherwise."""
    try:
        return await call, None
    except (Exception, Cancelled, SystemExit) as error:
        return None, error


def _in_thread(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return task.fn(*args, **kwargs)
    except StopIteration as error:  # a future cannot carry it
        raise RuntimeError("the task raised StopIteration") from error


def _ended(raised: BaseException, facts: JobInfo, port: RecordingPort, waits: Backoff) -> Outcome:
    """The outcome of an attempt that did not return."""
    failed_before = facts.failures
    if port.timed_out and not isinstance(raised, Fail):
        return _failed("timeout", TimeoutError(f"timed out after {facts.timeout:g} s"), facts, waits.delay)
    match raised:
        case ResultInvalid():  # like a refused payload: trying again cannot help
            error = _described("result", raised)
            return Outcome("FAILED", error=error, exception=raised, failures=failed_before + 1)
        case Fail():
            error = _described("error", raised)
            return Outcome("FAILED", error=error, exception=raised, reason=raised.reason, failures=failed_before + 1)
        case Cancel():
            return Outcome("CANCELLED", exception=raised, reason=raised.reason, failures=failed_before)
        case Cancelled():
            return Outcome("CANCELLED", exception=raised, failures=failed_before)
        case _ if port.cancel_requested:  # of all ends but success and FAILED, cancel is the stronger
            return _failed("error", raised, facts, waits.delay, cancelled=True)
        case Snooze():
            status = "RETRYING" if failed_before + facts.crashes else "PENDING"
            return Outcome(status, defer=raised.defer, exception=raised, reason=raised.reason, failures=failed_before)
        case Retry(defer=float() as defer):
            return _failed("error", raised, facts, lambda _n, _random: defer)
        case _:
            return _failed("error", raised, facts, waits.delay)


def _failed(kind: str, raised: BaseException, facts: JobInfo, delay: Any, *, cancelled: bool = False) -> Outcome:
    failures = facts.failures + 1
    outcome = Outcome("RETRYING", error=_described(kind, raised), exception=raised, failures=failures)
    if failures >= facts.max_attempts:
        outcome.status = "FAILED"
    elif cancelled:
        outcome.status = "CANCELLED"
    else:
        outcome.defer = delay(failures, lambda: 0.0)
    return outcome


def _described(kind: str, error: BaseException) -> dict[str, Any]:
    return {
        "kind": kind,
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
