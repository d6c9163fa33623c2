"""Every error this package raises, in one tree.

    ErranderError
    ├── AuthoringError             tasks, before and while they run
    │   ├── TaskDefinitionError    a `@task` that cannot be used (also a ValueError)
    │   ├── DuplicateTask          two functions under one task name
    │   ├── TaskImportError        a task module that cannot be loaded
    │   ├── UnknownTask            no task of that name in the registry
    │   ├── PayloadInvalid         a payload that the signature refuses; `.errors`
    │   ├── ResultInvalid          a result that is not JSON
    │   └── BackoffInvalid         a backoff that cannot be used; `.field`
    ├── JobEnded                   from `job.result()`
    │   ├── JobFailed              the job is FAILED; `.error`, `.errors`
    │   └── JobCancelled           the job is CANCELLED; `.reason`
    ├── EventsLost                 a stream of events had to leave some out; list again, then follow anew
    ├── WaitTimeout                waited long enough; the job goes on (also a TimeoutError)
    └── ApiError                   `.status`, `.code`, `.detail`, `.request_id`
        ├── ConnectionFailed       no answer: refused, reset, timed out (status 0)
        ├── BadAnswer              an answer that is not this API's
        ├── BadRequest             malformed-request, malformed-json, unsupported-media-type, method-not-allowed,
        │                          payload-too-large, uri-too-long, headers-too-large, misdirected-request
        ├── RequestTimeout         request-timeout
        ├── ValidationFailed       validation-failed; `.errors`
        │   └── TaskNotKnown       unknown-task; `.similar`
        ├── Unauthenticated        unauthenticated
        ├── Forbidden              forbidden
        ├── NotFound               not-found
        ├── Conflict               any other 409; `.job_id`, `.job_status`
        │   ├── JobAlreadyFinal    job-already-final
        │   ├── JobNotWaiting      job-not-waiting
        │   ├── NotReplayable      not-replayable
        │   ├── UniqueConflict     unique-conflict
        │   ├── KeyNotActive       key-not-active
        │   ├── RotationUnderWay   rotation-under-way
        │   └── IdempotencyInFlight idempotency-in-flight
        ├── IdempotencyKeyReused   idempotency-key-reused; `.job_id`, `.differs`
        ├── PreconditionFailed     precondition-failed
        ├── QuotaExceeded          quota-exceeded; `.retry_after`
        ├── Unavailable            unavailable, and any 502, 503, 504; `.retry_after`
        └── ServerError            internal, and any other 5xx

An unknown `code` becomes the class of its status, so a newer server breaks nothing. What is below `ApiError` lives in
`_api_errors`, `BackoffInvalid` in `_backoff`. An argument that no call can mean (a naive time, two ways to say when)
is a plain `ValueError` or `TypeError`. Standard library only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class FieldError(NamedTuple):
    """One refused value: a JSON pointer (RFC 6901) to it, what is wrong, and a stable code for programs."""

    pointer: str
    detail: str
    code: str


class ErranderError(Exception):
    """Base of everything this package raises, except `Cancelled` and the signals of task code."""


class AuthoringError(ErranderError):
    """Something is wrong with a task or with how it is called."""


class TaskDefinitionError(AuthoringError, ValueError):
    """A `@task` that cannot be used. `task` is its name."""

    def __init__(self, task: str, message: str) -> None:
        super().__init__(task, message)
        self.task = task
        self.message = message

    def __str__(self) -> str:
        return f"task {self.task!r}: {self.message}"


class DuplicateTask(AuthoringError, ValueError):
    """Two functions under one task name. `task` is the name, `first` and `second` say where they are."""

    def __init__(self, task: str, first: str, second: str) -> None:
        super().__init__(task, first, second)
        self.task = task
        self.first = first
        self.second = second

    def __str__(self) -> str:
        return f"task {self.task!r} is defined twice, by {self.first} and by {self.second}: rename one of them"


class TaskImportError(AuthoringError, ImportError):
    """A task module that cannot be loaded. `import_path` is the path as it was given."""

    def __init__(self, import_path: str, message: str) -> None:
        super().__init__(f"cannot load tasks from {import_path!r}: {message}")
        self.import_path = import_path

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, {"import_path": self.import_path})


class UnknownTask(AuthoringError, LookupError):
    """No task of that name in the registry. `similar` holds names that come close."""

    def __init__(self, task: str, similar: Sequence[str] = ()) -> None:
        super().__init__(task, tuple(similar))
        self.task = task
        self.similar = tuple(similar)

    def __str__(self) -> str:
        hint = f"; did you mean {' or '.join(self.similar)}?" if self.similar else ""
        return f"no task is called {self.task!r}{hint}"


class PayloadInvalid(AuthoringError, ValueError):
    """A payload that the task's signature refuses. `errors` says where and why, first things first."""

    def __init__(self, task: str, errors: Sequence[FieldError]) -> None:
        super().__init__(task, tuple(errors))
        self.task = task
        self.errors = tuple(errors)

    def __str__(self) -> str:
        shown = "; ".join(f"{error.pointer or '/'}: {error.detail}" for error in self.errors[:5])
        more = f"; and {len(self.errors) - 5} more" if len(self.errors) > 5 else ""
        return f"payload of {self.task} is refused: {shown}{more}"


class ResultInvalid(AuthoringError, ValueError):
    """A result that cannot be written as JSON."""

    def __init__(self, task: str, message: str) -> None:
        super().__init__(task, message)
        self.task = task
        self.message = message

    def __str__(self) -> str:
        return f"result of {self.task} is not JSON: {self.message}"


class JobEnded(ErranderError):
    """The job ended without a result. `job_id`, and `job` as it was last read."""

    def __init__(self, message: str, job: Any) -> None:
        super().__init__(message)
        self.job = job
        self.job_id: str = job.id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job,)


class JobFailed(JobEnded):
    """The job is FAILED. `error` is what ended it, `errors` the last 20 failures, oldest first."""

    def __init__(self, job: Any) -> None:
        self.error: Any = job.error
        self.errors: list[Any] = list(job.errors)
        said = f"{job.error.kind}: {job.error.message}" if job.error is not None else "no error was recorded"
        super().__init__(f"job {job.id} ({job.task}) failed: {said}", job)


class JobCancelled(JobEnded):
    """The job is CANCELLED. `cancelled_by` and `reason` say by what and why."""

    def __init__(self, job: Any) -> None:
        self.cancelled_by: str | None = job.cancelled_by
        self.reason: str | None = job.cancel_reason
        by = f" by {job.cancelled_by}" if job.cancelled_by else ""
        why = f": {job.cancel_reason}" if job.cancel_reason else ""
        super().__init__(f"job {job.id} ({job.task}) was cancelled{by}{why}", job)


class WaitTimeout(ErranderError, TimeoutError):
    """The wait is over and the job is not; it goes on. `job_id`, `status` (as last read), `timeout` in seconds."""

    def __init__(self, job_id: str, status: str, timeout: float) -> None:
        super().__init__(job_id, status, timeout)
        self.job_id = job_id
        self.status = status
        self.timeout = timeout

    def __str__(self) -> str:
        return f"job {self.job_id} is {self.status} after {self.timeout:g} s of waiting; it goes on"


class EventsLost(ErranderError):
    """The stream of events had to leave some out: more has changed, or longer ago, than the server can tell.

    Read what is needed by a list, and begin to follow anew. `reason` is what the server says.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"events were left out: {self.reason}; list the jobs again"


def rebuild(kind: type[ErranderError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ErranderError:
    """Unpickle an error whose constructor takes keywords."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error
