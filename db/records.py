"""A job as it stands in its row, read-only.

Owns the shape that every reader of `jobs` gets, whether it came by a named statement or by a composed one. JSON
columns stay the text that PostgreSQL sent, so that a number of any size survives and a list costs no parsing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from db.lifecycle import FINAL, JobStatus


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row of `jobs`. `None` in `payload`, `result` or `errors` can also mean that they were not asked for."""

    id: UUID
    tenant: str
    task: str
    pool: str
    priority: str
    status: JobStatus
    payload: str | None
    attempt: int
    failures: int
    crashes: int
    replays: int
    max_attempts: int
    max_crashes: int
    timeout: float
    backoff: str
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    failed_at: datetime | None
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None
    worker_id: UUID | None
    result: str | None
    errors: str | None
    progress: str | None
    tags: str
    metadata: str
    idempotency_key: str | None
    unique_key: str | None
    depends_on: list[UUID]
    parent_id: UUID | None
    schedule_id: UUID | None
    workflow_id: UUID | None

    @classmethod
    def of(cls, row: Iterable[tuple[str, Any]]) -> Self:
        """From the (column, value) pairs of a row; a column the row lacks becomes None, one too many is left out."""
        found = dict(row)
        values: dict[str, Any] = {name: found.get(name) for name in COLUMNS}
        values["status"] = JobStatus(str(values["status"]))
        return cls(**values)

    @property
    def is_final(self) -> bool:
        """Whether nothing but a replay changes its status."""
        return self.status in FINAL


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(JobRecord))
"""The columns of a record, in the order of its fields."""
