"""What happened to a job, as it is kept: a row for each thing that the job's columns do not say."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.engine import Link


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of `history`. `started_at` is the start of the attempt that the event ended, where it ended one."""

    at: datetime
    event: str
    status: str
    attempt: int
    worker_id: UUID | None
    by: str | None
    detail: dict[str, Any] | None
    started_at: datetime | None


async def rows(link: Link, job_id: UUID) -> list[HistoryRow]:
    """A job's rows, oldest first."""
    return [
        HistoryRow(
            row["at"],
            row["event"],
            row["status"],
            row["attempt"],
            row["worker_id"],
            row["by"],
            None if row["detail"] is None else json.loads(row["detail"]),
            row["started_at"],
        )
        for row in await link.fetch("job_history", id=job_id)
    ]
