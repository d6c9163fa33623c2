"""What answers look like, for the description of the API. Answers are written by `service.representation` and the
routes; tests hold these models against them.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from db.lifecycle import JobStatus

Status = Annotated[
    str, Field(description="A later version may have others.", examples=[one.value for one in JobStatus])
]
"""No enum: a client that was made from the description must not fail on a new one."""


class ErrorDocument(BaseModel):
    """One failed attempt."""

    attempt: int
    at: datetime
    worker: str | None
    kind: str
    type: str | None
    message: str | None
    traceback: str | None


class ProgressDocument(BaseModel):
    """How far a running job says it is."""

    done: float
    total: float | None
    message: str | None
    at: datetime


class JobItemDocument(BaseModel):
    """A job in a list."""

    id: str
    task: str
    pool: str
    priority: Literal["high", "default", "low"]
    status: Status
    attempt: int
    failures: int
    crashes: int
    replays: int
    attempts_left: int
    max_attempts: int
    max_crashes: int
    timeout: float
    backoff: dict[str, Any]
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None
    error: ErrorDocument | None
    progress: ProgressDocument | None
    worker: str | None
    tags: list[str]
    metadata: dict[str, Any]
    idempotency_key: str | None
    unique_key: str | None
    depends_on: list[str]
    parent_id: str | None
    schedule_id: str | None
    workflow_id: str | None


class JobDocument(JobItemDocument):
    """A job."""

    payload: dict[str, Any]
    result: Any
    errors: list[ErrorDocument]


class JobPage(BaseModel):
    """A page of jobs."""

    items: list[JobItemDocument]
    next_cursor: str | None
    searched_back_to: datetime | None = None


class BatchItem(BaseModel):
    """One job of a batch; `replayed` says that an earlier request made it."""

    id: str
    status: Status
    replayed: bool


class BatchDocument(BaseModel):
    """The jobs of a batch, in its order."""

    jobs: list[BatchItem]


class ChangedDocument(BaseModel):
    """What a bulk change did: jobs that fit (up to the limit), jobs changed, and whether more fit."""

    matched: int
    changed: int
    more: bool


class EventDocument(BaseModel):
    """One thing that happened to a job."""

    at: datetime
    event: str
    status: str
    attempt: int
    worker: str | None
    by: str | None
    detail: dict[str, Any] | None


class History(BaseModel):
    """What happened to a job, oldest first."""

    items: list[EventDocument]


class QueueDocument(BaseModel):
    """One priority of one pool."""

    queue: str
    pool: str
    priority: str
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    ready: int
    scheduled: int
    held: int
    running: int
    oldest_ready_seconds: float | None
    workers: int
    slots: int
    slots_free: int
    arrivals_per_second: float
    finishes_per_second: float


class Queues(BaseModel):
    """All queues."""

    items: list[QueueDocument]


class TaskDocument(BaseModel):
    """A task of the catalogue."""

    name: str
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    defaults: dict[str, Any]
    live: int
    versions: int
    announced_at: datetime
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None


class Tasks(BaseModel):
    """The catalogue."""

    items: list[TaskDocument]


class WorkerDocument(BaseModel):
    """A living worker process."""

    id: str
    pool: str
    priorities: list[str]
    tasks: list[str]
    host: str
    pid: int
    version: str
    slots: int
    running: int
    started_at: datetime
    last_beat_at: datetime
    draining: bool
    metrics_port: int | None
    info: dict[str, Any]


class Workers(BaseModel):
    """All living workers."""

    items: list[WorkerDocument]


class StatsDocument(BaseModel):
    """The state of the whole deployment."""

    at: datetime
    jobs: dict[str, int]
    jobs_estimated: bool
    queues: dict[str, QueueDocument]
    tasks: dict[str, dict[str, Any]]
    last_5_minutes: dict[str, float | int | None]
    workers: int


class AuditObject(BaseModel):
    """What something was done to. A bulk change has no `id`, but `ids` where they are asked for."""

    kind: str
    id: str | None
    ids: list[str] | None = None


class AuditEntry(BaseModel):
    """One thing that somebody did."""

    id: int
    at: datetime
    actor: str
    action: str
    object: AuditObject
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    request_id: str | None
    address: str | None


class AuditPage(BaseModel):
    """A page of the audit log."""

    items: list[AuditEntry]
    next_cursor: str | None


class AliveDocument(BaseModel):
    """That the process is alive."""

    status: Literal["ok"]


class ReadyDocument(BaseModel):
    """Whether requests can be served."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, str]


class VersionDocument(BaseModel):
    """Which version this is."""

    version: str
    api: str
