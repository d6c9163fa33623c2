"""The tables of schema `errander`.

Three tables carry a job: `jobs` is the record and decides everything (status, attempt and worker stand there, in no
index and no index predicate, so that claiming and finishing are HOT updates); `ready` is the queue, one narrow row
for each waiting job, deleted by the claim; `running` is the leases, one narrow row for each running job, deleted by
whatever ends the attempt. So the cost of the queue does not grow with history (docs/decisions/0002). Every edge locks
the `jobs` row and writes the other two in the same statement.

The schema's name is a setting: statements and migrations translate `errander` to it, and nothing uses `search_path`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.base import PRIORITIES, Base
from db.models_access import ApiKey, Audit

__all__ = [
    "ApiKey",
    "Audit",
    "Base",
    "Consistency",
    "History",
    "IdempotencyKey",
    "Job",
    "Leader",
    "QueueCount",
    "QueuePause",
    "Ready",
    "Rollup",
    "RollupMark",
    "RollupTime",
    "RollupTotal",
    "Running",
    "TaskPause",
    "TaskSchema",
    "Worker",
]

_STATUSES = "'WAITING', 'PENDING', 'RUNNING', 'RETRYING', 'SUCCESS', 'FAILED', 'CANCELLED'"

# A table that is a queue: every row is deleted soon, so vacuum goes by rows, not by a share of the table.
_QUEUE_VACUUM = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.05",
    # Small tables, whose head everybody reads: a visit is to be over soon.
    "autovacuum_vacuum_cost_delay": "0",
}

# A record, most of which never changes again. Vacuum also brings the BRIN index up to date with new pages, which every
# look by time reads whole until then; so it goes by how many rows are new, not by a share of the history.
_RECORD_VACUUM = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0",
    "autovacuum_vacuum_insert_threshold": "100000",
}


class Job(Base):
    """The record of one request to run a task."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    task: Mapped[str]
    pool: Mapped[str]
    priority: Mapped[str]
    status: Mapped[str]
    payload: Mapped[dict[str, Any]]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    crashes: Mapped[int] = mapped_column(server_default=text("0"))
    replays: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    max_crashes: Mapped[int]
    timeout: Mapped[float]
    backoff: Mapped[dict[str, Any]]
    run_at: Mapped[datetime]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None]
    cancel_reason: Mapped[str | None]
    worker_id: Mapped[UUID | None]
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=False))
    errors: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    progress: Mapped[dict[str, Any] | None]
    tags: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    # `metadata` is SQLAlchemy's own name on a class.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'::jsonb"))
    idempotency_key: Mapped[str | None]
    unique_key: Mapped[str | None]
    depends_on: Mapped[list[UUID]] = mapped_column(server_default=text("'{}'::uuid[]"))
    parent_id: Mapped[UUID | None]
    schedule_id: Mapped[UUID | None]
    workflow_id: Mapped[UUID | None]
    payload_bytes: Mapped[int] = mapped_column(server_default=text("0"))
    """Of the payload as text."""

    __table_args__ = (
        # Lists, newest first: ids are UUIDv7, so their order is the order of submission.
        Index("jobs_newest", "tenant", text("id DESC")),
        # The dead letter, newest failure first. `failed_at` is set on that edge only, so other edges stay HOT.
        Index(
            "jobs_failed",
            "tenant",
            text("failed_at DESC"),
            text("id DESC"),
            postgresql_where=text("failed_at IS NOT NULL"),
        ),
        # What ended lately. BRIN, because a summarising index does not stop a HOT update (PostgreSQL >= 16).
        Index("jobs_finished", "finished_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        CheckConstraint(f"priority IN ({PRIORITIES})", name="priority"),
        CheckConstraint("(status IN ('SUCCESS', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("(status = 'FAILED') = (failed_at IS NOT NULL)", name="failed"),
        CheckConstraint("status <> 'RUNNING' OR (worker_id IS NOT NULL AND started_at IS NOT NULL)", name="held"),
        CheckConstraint("(status = 'CANCELLED') <= (cancelled_by IS NOT NULL)", name="cancelled"),
        CheckConstraint(
            "attempt >= 0 AND failures >= 0 AND crashes >= 0 AND replays >= 0 AND max_attempts >= 1 AND max_crashes >= 1",
            name="budgets",
        ),
        CheckConstraint("timeout > 0", name="timeout"),
        # Room on the page for the next versions of a row: claim and finish are then HOT.
        {"postgresql_with": {"fillfactor": "50"} | _RECORD_VACUUM},
    )


class Ready(Base):
    """The queue: a row for each PENDING or RETRYING job."""

    __tablename__ = "ready"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    pool: Mapped[str]
    priority: Mapped[str]
    task: Mapped[str]
    run_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        # The head claim, the next due time and the horizon loop: per queue and task, earliest first.
        Index("ready_head", "pool", "priority", "task", "run_at", "id"),
        # The reaper's expiry of waiting jobs.
        Index("ready_expiry", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        {"postgresql_with": _QUEUE_VACUUM},
    )


class Running(Base):
    """The leases: a row for each RUNNING job."""

    __tablename__ = "running"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    worker_id: Mapped[UUID]
    pool: Mapped[str]
    priority: Mapped[str]

    __table_args__ = (
        # The roll call, the reaper, and the pruner of worker rows.
        Index("running_worker", "worker_id"),
        {"postgresql_with": _QUEUE_VACUUM},
    )


class History(Base):
    """What happened to a job and is not said by its columns; append-only."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    event: Mapped[str]
    status: Mapped[str]
    attempt: Mapped[int]
    worker_id: Mapped[UUID | None]
    by: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]

    __table_args__ = (
        # A job's history, oldest first.
        Index("history_job", "job_id", "id"),
        # What the figures over final jobs take back: a replayed job is final no more.
        Index("history_replayed", "at", postgresql_where=text("event = 'replayed'")),
    )


class RollupMark(Base):
    """How far the leader has counted what ended. Whoever counts holds its row, so that two leaders take turns."""

    __tablename__ = "rollup_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    folded_until: Mapped[datetime]
    """Every job that ended before this moment is counted, each exactly once."""

    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class RollupTotal(Base):
    """Final jobs that are there and ended before the mark, by status."""

    __tablename__ = "rollup_totals"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class Rollup(Base):
    """Ends of jobs in one span of time: events, which neither a replay nor retention takes back."""

    __tablename__ = "rollups"

    span: Mapped[int] = mapped_column(primary_key=True)
    """Seconds that a row stands for: 10, 60 or 3600; each end is in one row only."""
    at: Mapped[datetime] = mapped_column(primary_key=True)
    """When the span begins."""
    tenant: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    finished: Mapped[int] = mapped_column(BigInteger)
    timed: Mapped[int] = mapped_column(BigInteger)
    """How many of them had started, which the sums are over."""
    waited: Mapped[float]
    """Seconds from `run_at` to the last start, summed."""
    ran: Mapped[float]
    """Seconds from the last start to the end, summed."""

    __table_args__ = (CheckConstraint("span IN (10, 60, 3600)", name="span"),)


class RollupTime(Base):
    """How long jobs waited and ran that ended in one span of time, as a histogram over all queues and tasks."""

    __tablename__ = "rollup_times"

    span: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    bin: Mapped[int] = mapped_column(primary_key=True)
    """Bin n holds 2^(n/8) to 2^((n+1)/8) milliseconds, bin -1 what is shorter."""
    jobs: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        CheckConstraint("span IN (10, 60, 3600)", name="span"),
        CheckConstraint("kind IN ('wait', 'run')", name="kind"),
    )


class QueueCount(Base):
    """What waits of one task in one queue, as the leader last counted it where counting at each look costs too much."""

    __tablename__ = "queue_counts"

    pool: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    due: Mapped[int] = mapped_column(BigInteger)
    scheduled: Mapped[int] = mapped_column(BigInteger)
    retrying: Mapped[float]
    """The share of them that has failed before, from a sample."""
    counted_at: Mapped[datetime]

    __table_args__ = (CheckConstraint(f"priority IN ({PRIORITIES})", name="priority"),)


class Worker(Base):
    """One start of a worker process; its heartbeat is the lease of all its jobs."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str]
    priorities: Mapped[list[str]]
    tasks: Mapped[dict[str, Any]]
    """Task name → hash of the schema this worker has."""
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    slots: Mapped[int]
    running: Mapped[int] = mapped_column(server_default=text("0"))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    beat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    dead_at: Mapped[datetime | None]
    drain_requested_at: Mapped[datetime | None]
    metrics_port: Mapped[int | None]
    info: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))

    # A row that is updated every few seconds by its owner: HOT, on its page.
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class Leader(Base):
    """Who runs the leader's loops, until when by the database's clock."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(primary_key=True)
    worker_id: Mapped[UUID]
    term: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[datetime]


class TaskSchema(Base):
    """The catalogue: one row a task and schema ever announced."""

    __tablename__ = "tasks"

    name: Mapped[str] = mapped_column(primary_key=True)
    schema_hash: Mapped[str] = mapped_column(primary_key=True)
    payload_schema: Mapped[dict[str, Any]]
    result_schema: Mapped[dict[str, Any] | None]
    defaults: Mapped[dict[str, Any]]
    announced_at: Mapped[datetime] = mapped_column(server_default=func.now())


class QueuePause(Base):
    """A paused queue: one priority of one pool."""

    __tablename__ = "queue_pauses"

    pool: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    reason: Mapped[str | None]

    __table_args__ = (CheckConstraint(f"priority IN ({PRIORITIES})", name="priority"),)


class TaskPause(Base):
    """A paused task."""

    __tablename__ = "task_pauses"

    task: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    reason: Mapped[str | None]


class IdempotencyKey(Base):
    """A client's key, stored in the transaction of the jobs it made."""

    __tablename__ = "idempotency_keys"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[dict[str, Any]]
    """Pointer → digest of what the client sent there."""
    job_ids: Mapped[list[UUID]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    check_after: Mapped[datetime]

    # The pruner asks again for each key at its own time, so that keys of far jobs are not read every round.
    __table_args__ = (Index("idempotency_keys_check", "check_after"),)


class Consistency(Base):
    """What the leader's last look for broken rules found: one row, written over."""

    __tablename__ = "consistency"

    name: Mapped[str] = mapped_column(primary_key=True)
    checked_at: Mapped[datetime]
    seconds: Mapped[float]
    """How long the look took."""
    worker_id: Mapped[UUID]
    clean: Mapped[bool]
    """Nothing that was found is an error."""
    counts: Mapped[dict[str, Any]]
    """Code → how many were found; what was not found is left out."""
