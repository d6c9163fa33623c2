"""Where a waiting job stands: what holds it, who could run it, and how many go before it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from db.engine import Link
from db.records import JobRecord

BOUND: Final = 10_000
"""Jobs before it that are counted at most: some 5 ms."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What is paused, at `at` by the database's clock."""

    at: datetime
    queue_paused_at: datetime | None
    queue_reason: str | None
    task_paused_at: datetime | None
    task_reason: str | None


@dataclass(frozen=True, slots=True)
class Server:
    """A live worker that has the task. One that drains starts nothing more."""

    pool: str
    priorities: tuple[str, ...]
    slots: int
    running: int
    drains: bool


async def holds(link: Link, pool: str, priority: str, task: str) -> Holds:
    """The pauses that concern a job."""
    (row,) = await link.fetch("job_holds", pool=pool, priority=priority, task=task)
    return Holds(*tuple(row))


async def servers(link: Link, task: str, lease: float) -> list[Server]:
    """Live workers that have `task`, of whatever pool. A worker is live while its beat is younger than `lease` seconds."""
    return [
        Server(row["pool"], tuple(row["priorities"]), row["slots"], row["running"], row["drains"])
        for row in await link.fetch("task_servers", task=task, lease=lease)
    ]


async def before(link: Link, job: JobRecord, lease: float) -> int:
    """Due jobs that start before this one in its queue, counted up to `BOUND`; of tasks that may start only."""
    (row,) = await link.fetch(
        "due_before", id=job.id, pool=job.pool, priority=job.priority, run_at=job.run_at, lease=lease, bound=BOUND
    )
    return int(row["before"])
