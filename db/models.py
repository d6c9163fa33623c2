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

from sqlalchemy import BigInteger, CheckConstraint, Double, Identity, Index, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "errander"

_PRIORITIES = "'high', 'default', 'low'"
_STATUSES = "'WAITING', 'PENDING', 'RUNNING', 'RETRYING', 'SUCCESS', 'FAILED', 'CANCELLED'"

# A table that is a queue: every row is deleted soon, so vacuum goes by rows, not by a share of the table.
_QUEUE_VACUUM = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.05",
}


class Base(DeclarativeBase):
    """All tables; names of constraints are fixed, because errors are recognised by them."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "ck": "%(table_name)s_%(constraint_name)s",
            "ix": "%(table_name)s_%(column_0_N_name)s",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: TIMESTAMP(timezone=True),
        str: Text,
        float: Double,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[UUID]: ARRAY(Uuid),
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
        # Retention. BRIN, because a summarising index does not stop a HOT update (PostgreSQL >= 16).
        Index("jobs_finished", "finished_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        CheckConstraint(f"priority IN ({_PRIORITIES})", name="priority"),
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
        {"postgresql_with": {"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"}},
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

    # A job's history, oldest first.
    __table_args__ = (Index("history_job", "job_id", "id"),)


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

    __table_args__ = (CheckConstraint(f"priority IN ({_PRIORITIES})", name="priority"),)


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
