"""What a running task can know and say about its job.

The worker builds a context for each attempt from `JobInfo` (plain data) and an `AttemptPort` (the way back into the
worker). Neither knows about a database or a network, so a context can be built in a child process as well, with a
port that writes to a pipe, and in a test, with one that appends to a list.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from ._durations import Duration, to_rfc3339, to_seconds
from ._signals import Cancelled

_POLL_SECONDS: Final = 0.1
"""How often a sleeping thread looks for a cancel request: soon for a person, cheap for 32 threads."""


class AttemptPort(Protocol):
    """What a context needs from whoever runs the attempt. Every call returns at once and never raises.

    Called from the thread that runs the task: an implementation for `def` tasks must be thread-safe.
    """

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """Keep how far the job is; only the newest counts."""

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Keep one line of the job's log. `level` is debug, info, warning or error."""

    def cancelled(self) -> bool:
        """Whether somebody asked to cancel the job, or the attempt ran out of time."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """The facts of one attempt, as plain data that pickles and turns into JSON.

    `attempt` counts starts, this one included; `failures` and `crashes` count what came before it. `timeout` is in
    seconds. `idempotency_key` is the client's, else the job's id: the same in every attempt, so it can be handed to
    other systems as their key.
    """

    job_id: str
    task: str
    attempt: int = 1
    failures: int = 0
    crashes: int = 0
    max_attempts: int = 5
    max_crashes: int = 3
    timeout: float | None = None
    idempotency_key: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    run_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    pool: str = "default"
    priority: str = "default"

    def __post_init__(self) -> None:
        if not self.idempotency_key:
            object.__setattr__(self, "idempotency_key", self.job_id)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: times as RFC 3339, tags as a list."""
        return asdict(self) | {
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "run_at": to_rfc3339(self.run_at, "run_at"),
            "created_at": to_rfc3339(self.created_at, "created_at"),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "JobInfo":
        """The inverse of `to_dict`."""
        values = dict(data)
        values["tags"] = tuple(values.get("tags", ()))
        for name in ("run_at", "created_at"):
            if isinstance(values.get(name), str):
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)


class ContextLog:
    """Lines for the job's log: `ctx.log.info("rows copied", rows=12)`. Fields are JSON values.

    Of a message, and of a field that is a text, a worker keeps the last 16,384 characters.
    """

    __slots__ = ("_port",)

    def __init__(self, port: AttemptPort) -> None:
        self._port = port

    def debug(self, message: str, /, **fields: Any) -> None:
        """A line that helps to follow the code."""
        self._port.log("debug", message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """A line about what happened."""
        self._port.log("info", message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """A line about what was unexpected and went on."""
        self._port.log("warning", message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """A line about what went wrong."""
        self._port.log("error", message, fields)


class _Attempt:
    """What both contexts share."""

    __slots__ = ("_port", "info", "log")

    def __init__(self, info: JobInfo, port: AttemptPort) -> None:
        self.info: Final = info
        self.log: Final = ContextLog(port)
        self._port = port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task} job={self.job_id} attempt={self.attempt}>"

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.info.job_id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.info.task

    @property
    def attempt(self) -> int:
        """How many times the job was started, this time included."""
        return self.info.attempt

    @property
    def failures(self) -> int:
        """How many attempts failed before this one."""
        return self.info.failures

    @property
    def crashes(self) -> int:
        """How many attempts were lost with their process before this one."""
        return self.info.crashes

    @property
    def max_attempts(self) -> int:
        """How many failures end the job."""
        return self.info.max_attempts

    @property
    def timeout(self) -> float | None:
        """Seconds this attempt may take."""
        return self.info.timeout

    @property
    def idempotency_key(self) -> str:
        """The client's key, else the job's id; the same in every attempt."""
        return self.info.idempotency_key

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""
        return self.info.tags

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The job's metadata. Read it; a change is not kept."""
        return self.info.metadata

    @property
    def run_at(self) -> datetime:
        """When the job was due, UTC."""
        return self.info.run_at

    @property
    def created_at(self) -> datetime:
        """When the job was accepted, UTC."""
        return self.info.created_at

    @property
    def pool(self) -> str:
        """The pool the job runs in."""
        return self.info.pool

    @property
    def priority(self) -> str:
        """`high`, `default` or `low`."""
        return self.info.priority

    @property
    def cancelled(self) -> bool:
        """Whether to stop: somebody asked to cancel the job, or the attempt ran out of time."""
        return self._port.cancelled()

    def check(self) -> None:
        """Raise `Cancelled` if the attempt should stop. Call it between units of work."""
        if self._port.cancelled():
            raise Cancelled

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the job is, in any unit: `done` of `total`. Cheap: call it as often as is natural."""
        self._port.progress(done, total, message)


class Context(_Attempt):
    """The context of a task written as `async def`. A cancel request also arrives at its next await."""

    __slots__ = ()

    async def sleep(self, duration: Duration) -> None:
        """Wait `duration` (seconds or `timedelta`); raises `Cancelled` if the attempt should stop."""
        seconds = to_seconds(duration, "duration")
        self.check()
        await asyncio.sleep(seconds)
        self.check()


class SyncContext(_Attempt):
    """The context of a task written as `def`, in a thread or a process.

    A thread cannot be stopped from outside: long work calls `check()` or looks at `cancelled` now and then.
    """

    __slots__ = ()

    def sleep(self, duration: Duration) -> None:
        """Wait `duration` (seconds or `timedelta`); raises `Cancelled` as soon as the attempt should stop."""
        deadline = time.monotonic() + to_seconds(duration, "duration")
        self.check()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))
            self.check()
