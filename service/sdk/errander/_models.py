"""What the API answers with, as frozen models.

Tolerant on purpose: fields that this version does not know are ignored (and kept in `raw`), and `status`, `kind` and
`event` stay plain strings, so that a newer server breaks no older client.
"""

from datetime import datetime
from typing import Any, Final

from pydantic import AliasChoices, Field

from ._core import Read

FINAL_STATUSES: Final = frozenset({"SUCCESS", "FAILED", "CANCELLED"})


class JobError(Read):
    """One failure of a job: of which attempt, when, on which worker, of which kind, and what was said."""

    attempt: int = 0
    at: datetime | None = None
    worker: str | None = None
    kind: str = "error"
    type: str | None = None
    message: str = ""
    traceback: str | None = None


class Progress(Read):
    """How far a running job says it is."""

    done: float = 0
    total: float | None = None
    message: str | None = None
    at: datetime | None = None


class Job(Read):
    """One job, as the API last answered it. A list leaves out `payload`, `result` and `errors` unless asked.

    `timeout` is in seconds, times are UTC.
    """

    id: str
    status: str
    task: str = ""
    payload: dict[str, Any] = Field(default_factory=dict)
    pool: str = "default"
    priority: str = "default"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    replays: int = 0
    attempts_left: int | None = None
    max_attempts: int | None = None
    max_crashes: int | None = None
    timeout: float | None = None
    backoff: dict[str, Any] | None = None
    run_at: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None
    result: Any = None
    error: JobError | None = None
    errors: list[JobError] = Field(default_factory=list)
    progress: Progress | None = None
    worker: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str | None = None
    unique_key: str | None = None
    depends_on: list[str] = Field(default_factory=list)
    parent_id: str | None = None
    schedule_id: str | None = None
    workflow_id: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended. A status that this version does not know counts as not ended."""
        return self.status in FINAL_STATUSES


class HistoryEntry(Read):
    """One thing that happened to a job."""

    at: datetime | None = None
    event: str = ""
    status: str | None = None
    attempt: int | None = None
    worker: str | None = None
    by: str | None = None
    detail: Any = None


class Queue(Read):
    """One priority of one pool, counted now. `held` is due but cannot start: paused, or no live worker has the task."""

    queue: str
    pool: str = "default"
    priority: str = "default"
    paused: bool = False
    ready: int = 0
    scheduled: int = 0
    held: int = 0
    running: int = 0
    oldest_ready_seconds: float | None = None
    workers: int = 0
    slots: int = 0
    slots_free: int = 0
    arrivals_per_second: float | None = None
    finishes_per_second: float | None = None


class TaskInfo(Read):
    """One task of the catalogue. `live` counts the workers that have it now."""

    name: str = Field(validation_alias=AliasChoices("name", "task"))
    payload_schema: dict[str, Any] | None = None
    result_schema: dict[str, Any] | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)
    live: int = 0
    paused: bool = False


class Worker(Read):
    """One live worker process. What else it announced is in `raw`."""

    id: str
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    pool: str = "default"
    priorities: list[str] = Field(default_factory=list)
    tasks: list[str] = Field(default_factory=list)
    slots: int = 0
    running: int = 0


class Stats(Read):
    """Counts over the whole service; `last_5_minutes` has rates and percentiles in seconds."""

    at: datetime | None = None
    jobs: dict[str, int] = Field(default_factory=dict)
    queues: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[str, Any] = Field(default_factory=dict)
    last_5_minutes: dict[str, float | None] = Field(default_factory=dict)
    workers: Any = None


class Version(Read):
    """The server's release and the API version it speaks."""

    version: str
    api: str | int | None = None


class Readiness(Read):
    """Whether the service can work: `ok`, `degraded` (without Redis, for example) or `unavailable`, and each check."""

    status: str
    checks: dict[str, Any] = Field(default_factory=dict)


class Changed(Read):
    """What a bulk action did: how many jobs fitted, how many it changed, and whether more are left."""

    matched: int = 0
    changed: int = 0
    more: bool = False


class Page(Read):
    """One page of a list of jobs."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None
