"""The rows of the model: what the tables keep of a job, a worker and a key, and what is handed to a statement."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db.lifecycle import JobStatus

Answer = dict[UUID, Any]
"""What a statement says about each job that it changed."""
Ends = Sequence[tuple[UUID, int]]
"""Attempts that a worker speaks about: job and number."""
KeyName = tuple[str, str]
"""Tenant and key; there is one route."""


@dataclass(frozen=True)
class Backoff:
    """Seconds before the next try, without jitter."""

    kind: str = "fixed"
    base: float = 0.0
    factor: float = 2.0
    max: float = 3600.0

    def before(self, n: int) -> timedelta:
        """What passes before try n + 1."""
        growth = {"fixed": 1.0, "linear": float(n), "exponential": self.factor ** (n - 1)}[self.kind]
        return timedelta(seconds=min(self.max, self.base * growth))


@dataclass(frozen=True)
class Event:
    """A row of a job's history."""

    event: str
    status: str
    attempt: int
    worker_id: UUID | None
    started_at: datetime | None
    at: datetime
    charged: bool | None = None
    """Of a rescue: whether a crash was charged."""
    run_at: datetime | None = None
    """When it is to start again, where the event says so."""


@dataclass
class Job:
    """A job's row, its errors as (attempt, kind), and its history."""

    id: UUID
    tenant: str
    task: str
    pool: str
    priority: str
    max_attempts: int
    max_crashes: int
    backoff: Backoff
    run_at: datetime
    created_at: datetime
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    replays: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None
    worker_id: UUID | None = None
    result: int | None = None
    progress: int | None = None
    payload: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)

    @property
    def queued(self) -> tuple[Any, ...]:
        """Its row in `ready`, while it waits."""
        return self.tenant, self.pool, self.priority, self.task, self.run_at, self.expires_at

    @property
    def lease(self) -> tuple[Any, ...]:
        """Its row in `running`, while it runs."""
        return self.attempt, self.worker_id, self.pool, self.priority

    @property
    def free_rescues(self) -> int:
        """How often its worker died around it at no cost, since the last replay."""
        events = [(event.event, event.charged) for event in self.history]
        since = max((place for place, (event, _) in enumerate(events) if event == "replayed"), default=-1)
        return events[since + 1 :].count(("rescued", False))


@dataclass
class Worker:
    """A worker's row."""

    id: UUID
    pool: str
    tasks: tuple[str, ...]
    beat_at: datetime
    dead_at: datetime | None = None
    drain_requested_at: datetime | None = None


@dataclass
class Key:
    """An idempotency key that is held."""

    job_ids: tuple[UUID, ...]
    check_after: datetime


@dataclass(frozen=True)
class Taker:
    """Who claims, and what for."""

    worker: UUID
    pool: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Submission:
    """A job as a client submits it; delays in seconds from now."""

    id: UUID
    tenant: str = "default"
    task: str = "a"
    pool: str = "default"
    priority: str = "default"
    max_attempts: int = 3
    max_crashes: int = 3
    backoff: Backoff = Backoff()
    delay: float | None = None
    expires_in: float | None = None
    key: str | None = None
