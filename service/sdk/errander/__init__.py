"""Errander: write tasks, submit jobs, operate the service. See the names in `__all__`.

A name is imported when it is first used, so that the command's `--help` and a worker that only runs tasks do not
pay for the HTTP client.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._api_errors import ApiError as ApiError
    from ._api_errors import BadAnswer as BadAnswer
    from ._api_errors import BadRequest as BadRequest
    from ._api_errors import Conflict as Conflict
    from ._api_errors import ConnectionFailed as ConnectionFailed
    from ._api_errors import Forbidden as Forbidden
    from ._api_errors import IdempotencyInFlight as IdempotencyInFlight
    from ._api_errors import IdempotencyKeyReused as IdempotencyKeyReused
    from ._api_errors import JobAlreadyFinal as JobAlreadyFinal
    from ._api_errors import JobNotWaiting as JobNotWaiting
    from ._api_errors import KeyNotActive as KeyNotActive
    from ._api_errors import NotFound as NotFound
    from ._api_errors import NotReplayable as NotReplayable
    from ._api_errors import PreconditionFailed as PreconditionFailed
    from ._api_errors import QuotaExceeded as QuotaExceeded
    from ._api_errors import RequestTimeout as RequestTimeout
    from ._api_errors import RotationUnderWay as RotationUnderWay
    from ._api_errors import ServerError as ServerError
    from ._api_errors import TaskNotKnown as TaskNotKnown
    from ._api_errors import Unauthenticated as Unauthenticated
    from ._api_errors import Unavailable as Unavailable
    from ._api_errors import UniqueConflict as UniqueConflict
    from ._api_errors import ValidationFailed as ValidationFailed
    from ._audit import AuditEntry as AuditEntry
    from ._backoff import Backoff as Backoff
    from ._backoff import BackoffInvalid as BackoffInvalid
    from ._backoff import Exponential as Exponential
    from ._backoff import Fixed as Fixed
    from ._backoff import Linear as Linear
    from ._backoff import parse_backoff as parse_backoff
    from ._client import AsyncClient as AsyncClient
    from ._consistency import Consistency as Consistency
    from ._consistency import Finding as Finding
    from ._context import AttemptPort as AttemptPort
    from ._context import Context as Context
    from ._context import JobInfo as JobInfo
    from ._context import SyncContext as SyncContext
    from ._errors import AuthoringError as AuthoringError
    from ._errors import DuplicateTask as DuplicateTask
    from ._errors import ErranderError as ErranderError
    from ._errors import EventsLost as EventsLost
    from ._errors import FieldError as FieldError
    from ._errors import JobCancelled as JobCancelled
    from ._errors import JobEnded as JobEnded
    from ._errors import JobFailed as JobFailed
    from ._errors import PayloadInvalid as PayloadInvalid
    from ._errors import ResultInvalid as ResultInvalid
    from ._errors import TaskDefinitionError as TaskDefinitionError
    from ._errors import TaskImportError as TaskImportError
    from ._errors import UnknownTask as UnknownTask
    from ._errors import WaitTimeout as WaitTimeout
    from ._explain import Explanation as Explanation
    from ._explain import Reason as Reason
    from ._explain import StartEstimate as StartEstimate
    from ._filters import JobFilter as JobFilter
    from ._handles import AsyncJobHandle as AsyncJobHandle
    from ._handles import JobHandle as JobHandle
    from ._job_flows import JobEdit as JobEdit
    from ._keys import ApiKey as ApiKey
    from ._loading import load_tasks as load_tasks
    from ._models import Changed as Changed
    from ._models import HistoryEntry as HistoryEntry
    from ._models import Job as Job
    from ._models import JobError as JobError
    from ._models import Progress as Progress
    from ._models import Queue as Queue
    from ._models import Readiness as Readiness
    from ._models import Stats as Stats
    from ._models import TaskInfo as TaskInfo
    from ._models import Version as Version
    from ._models import Worker as Worker
    from ._new_job import NewJob as NewJob
    from ._registry import Registry as Registry
    from ._registry import registry as registry
    from ._signals import Cancel as Cancel
    from ._signals import Cancelled as Cancelled
    from ._signals import Fail as Fail
    from ._signals import Retry as Retry
    from ._signals import Signal as Signal
    from ._signals import Snooze as Snooze
    from ._sync import Client as Client
    from ._task import Task as Task
    from ._task import import_task as import_task
    from ._task import task as task
    from ._transport import AsyncHttpTransport as AsyncHttpTransport
    from ._transport import HttpTransport as HttpTransport
    from ._wire import Answer as Answer
    from ._wire import AsyncStreams as AsyncStreams
    from ._wire import AsyncTransport as AsyncTransport
    from ._wire import Call as Call
    from ._wire import StreamHead as StreamHead
    from ._wire import Streams as Streams
    from ._wire import Transport as Transport

__version__: Final = "0.1.0"

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "_audit": ("AuditEntry",),
    "_backoff": ("Backoff", "BackoffInvalid", "Exponential", "Fixed", "Linear", "parse_backoff"),
    "_client": ("AsyncClient",),
    "_consistency": ("Consistency", "Finding"),
    "_context": ("AttemptPort", "Context", "JobInfo", "SyncContext"),
    "_api_errors": (
        "ApiError",
        "BadAnswer",
        "BadRequest",
        "Conflict",
        "ConnectionFailed",
        "Forbidden",
        "IdempotencyInFlight",
        "IdempotencyKeyReused",
        "JobAlreadyFinal",
        "JobNotWaiting",
        "KeyNotActive",
        "NotFound",
        "NotReplayable",
        "PreconditionFailed",
        "QuotaExceeded",
        "RequestTimeout",
        "RotationUnderWay",
        "ServerError",
        "TaskNotKnown",
        "Unauthenticated",
        "Unavailable",
        "UniqueConflict",
        "ValidationFailed",
    ),
    "_errors": (
        "AuthoringError",
        "DuplicateTask",
        "ErranderError",
        "EventsLost",
        "FieldError",
        "JobCancelled",
        "JobEnded",
        "JobFailed",
        "PayloadInvalid",
        "ResultInvalid",
        "TaskDefinitionError",
        "TaskImportError",
        "UnknownTask",
        "WaitTimeout",
    ),
    "_explain": ("Explanation", "Reason", "StartEstimate"),
    "_filters": ("JobFilter",),
    "_handles": ("AsyncJobHandle", "JobHandle"),
    "_job_flows": ("JobEdit",),
    "_keys": ("ApiKey",),
    "_loading": ("load_tasks",),
    "_models": (
        "Changed",
        "HistoryEntry",
        "Job",
        "JobError",
        "Progress",
        "Queue",
        "Readiness",
        "Stats",
        "TaskInfo",
        "Version",
        "Worker",
    ),
    "_new_job": ("NewJob",),
    "_registry": ("Registry", "registry"),
    "_signals": ("Cancel", "Cancelled", "Fail", "Retry", "Signal", "Snooze"),
    "_sync": ("Client",),
    "_task": ("Task", "import_task", "task"),
    "_transport": ("AsyncHttpTransport", "HttpTransport"),
    "_wire": ("Answer", "AsyncStreams", "AsyncTransport", "Call", "StreamHead", "Streams", "Transport"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "AsyncHttpTransport",
    "AsyncJobHandle",
    "AsyncStreams",
    "AsyncTransport",
    "AttemptPort",
    "AuditEntry",
    "AuthoringError",
    "Backoff",
    "BackoffInvalid",
    "BadAnswer",
    "BadRequest",
    "Call",
    "Cancel",
    "Cancelled",
    "Changed",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Consistency",
    "Context",
    "DuplicateTask",
    "ErranderError",
    "EventsLost",
    "Explanation",
    "Exponential",
    "Fail",
    "FieldError",
    "Finding",
    "Fixed",
    "Forbidden",
    "HistoryEntry",
    "HttpTransport",
    "IdempotencyInFlight",
    "IdempotencyKeyReused",
    "Job",
    "JobAlreadyFinal",
    "JobCancelled",
    "JobEdit",
    "JobEnded",
    "JobError",
    "JobFailed",
    "JobFilter",
    "JobHandle",
    "JobInfo",
    "JobNotWaiting",
    "KeyNotActive",
    "Linear",
    "NewJob",
    "NotFound",
    "NotReplayable",
    "PayloadInvalid",
    "PreconditionFailed",
    "Progress",
    "Queue",
    "QuotaExceeded",
    "Readiness",
    "Reason",
    "Registry",
    "RequestTimeout",
    "ResultInvalid",
    "Retry",
    "RotationUnderWay",
    "ServerError",
    "Signal",
    "Snooze",
    "StartEstimate",
    "Stats",
    "StreamHead",
    "Streams",
    "SyncContext",
    "Task",
    "TaskDefinitionError",
    "TaskImportError",
    "TaskInfo",
    "TaskNotKnown",
    "Transport",
    "Unauthenticated",
    "Unavailable",
    "UniqueConflict",
    "UnknownTask",
    "ValidationFailed",
    "Version",
    "WaitTimeout",
    "Worker",
    "import_task",
    "load_tasks",
    "parse_backoff",
    "registry",
    "task",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
