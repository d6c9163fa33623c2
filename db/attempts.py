"""What a worker may say about attempts: claim them, end them, ask what became of them.

One function a statement. Every write is fenced by id, from-status, attempt and worker; a job that a statement did not
change is missing from its answer, and that is a value, not an error: `verdict` tells why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from db.engine import Link
from db.lifecycle import JobStatus


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job this worker has just won. `payload`, `backoff`, `tags`, `metadata` are JSON text."""

    id: UUID
    attempt: int
    task: str
    payload: str
    pool: str
    priority: str
    tenant: str
    failures: int
    crashes: int
    max_attempts: int
    max_crashes: int
    timeout: float
    backoff: str
    idempotency_key: str | None
    tags: str
    metadata: str
    run_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """The answer of a claim by head: what was won, and how many candidates were seen."""

    jobs: list[Claimed]
    seen: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A job that an outcome has moved; `due_in` seconds until it may start again, None where it is final."""

    id: UUID
    status: JobStatus
    pool: str = ""
    priority: str = ""
    due_in: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a job that was asked for and not won."""

    id: UUID
    status: JobStatus
    attempt: int
    worker_id: UUID | None
    waits: bool
    mine: bool
    """It belongs to the pool that asked."""
    due_in: float | None
    served: bool
    served_elsewhere: bool
    claimable: bool
    alive: bool
    """The worker that asked still holds its lease."""


MOST_BYTES = 16 * 1024 * 1024
"""Payloads that one claim brings into the process; a larger one comes alone."""

_FIELDS = len(Claimed.__slots__)


def _claimed(rows: Sequence[asyncpg.Record]) -> list[Claimed]:
    return [Claimed(*row[:_FIELDS]) if len(row) > _FIELDS else Claimed(*row) for row in map(tuple, rows)]


async def claim_by_id(
    link: Link, ids: Sequence[UUID], *, worker: UUID, lease: float, pool: str, tasks: Sequence[str]
) -> list[Claimed]:
    """Starts those of `ids` that are claimable, within `MOST_BYTES`. `lease` in seconds."""
    rows = await link.fetch(
        "claim_by_id", ids=ids, worker=worker, lease=lease, pool=pool, tasks=tasks, most_bytes=MOST_BYTES
    )
    return _claimed(rows)


async def claim_by_head(
    link: Link, n: int, *, worker: UUID, lease: float, pool: str, priority: str, tasks: Sequence[str]
) -> Head:
    """Starts up to `n` jobs of what is due in one queue, earliest first, within `MOST_BYTES`."""
    rows = await link.fetch(
        "claim_by_head",
        n=n,
        worker=worker,
        lease=lease,
        pool=pool,
        priority=priority,
        tasks=tasks,
        most_bytes=MOST_BYTES,
    )
    return Head(_claimed([row for row in rows if row[0] is not None]), rows[-1]["seen"])


async def due_by_head(
    link: Link, n: int, *, pool: str, priorities: Sequence[str], tasks: Sequence[str]
) -> dict[str, int]:
    """Priority → how many jobs are claimable there, counted up to `n`."""
    rows = await link.fetch("due_by_head", n=n, pool=pool, priorities=priorities, tasks=tasks)
    return {row["priority"]: row["due"] for row in rows}


async def next_due(link: Link, *, pool: str, priorities: Sequence[str], tasks: Sequence[str]) -> float | None:
    """Seconds until the earliest waiting job of these queues, None where nothing waits."""
    row = await link.row("next_due", pool=pool, priorities=priorities, tasks=tasks)
    return None if row is None else row["due_in"]


async def verdict(
    link: Link, ids: Sequence[UUID], *, worker: UUID, lease: float, pool: str, tasks: Sequence[str]
) -> dict[UUID, Verdict]:
    """Why `ids` were not won; an id that is missing from the answer is unknown."""
    rows = await link.fetch("verdict", ids=ids, worker=worker, lease=lease, pool=pool, tasks=tasks)
    return {
        row["id"]: Verdict(
            row["id"],
            JobStatus(row["status"]),
            row["attempt"],
            row["worker_id"],
            row["waits"],
            row["mine"],
            row["due_in"],
            row["served"],
            row["served_elsewhere"],
            bool(row["claimable"]),
            row["alive"],
        )
        for row in rows
    }


def _moved(rows: Sequence[asyncpg.Record]) -> list[Moved]:
    return [
        Moved(
            row["id"],
            JobStatus(row["status"]),
            row["pool"],
            row["priority"],
            row["due_in"] if row["status"] in ("PENDING", "RETRYING") else None,
        )
        for row in rows
    ]


async def succeed(
    link: Link, *, worker: UUID, ids: Sequence[UUID], attempts: Sequence[int], results: Sequence[str]
) -> list[Moved]:
    """SUCCESS; `results` are JSON text."""
    rows = await link.fetch("succeed", worker=worker, ids=ids, attempts=attempts, results=results)
    return [Moved(row["id"], JobStatus(row["status"])) for row in rows]


async def fail(
    link: Link,
    *,
    worker: UUID,
    ids: Sequence[UUID],
    attempts: Sequence[int],
    errors: Sequence[str],
    delays: Sequence[float],
    finals: Sequence[bool],
) -> list[Moved]:
    """A failure each: RETRYING after `delays` seconds, or FAILED. `errors` are JSON objects as text."""
    return _moved(
        await link.fetch("fail", worker=worker, ids=ids, attempts=attempts, errors=errors, delays=delays, finals=finals)
    )


async def crash(
    link: Link,
    *,
    worker: UUID,
    ids: Sequence[UUID],
    attempts: Sequence[int],
    errors: Sequence[str],
    delays: Sequence[float],
) -> list[Moved]:
    """The child process of each died under this worker: a crash is charged."""
    return _moved(await link.fetch("crash", worker=worker, ids=ids, attempts=attempts, errors=errors, delays=delays))


async def snooze(
    link: Link, *, worker: UUID, ids: Sequence[UUID], attempts: Sequence[int], delays: Sequence[float]
) -> list[Moved]:
    """Later, at no cost."""
    return _moved(await link.fetch("snooze", worker=worker, ids=ids, attempts=attempts, delays=delays))


async def give_back(
    link: Link,
    *,
    worker: UUID,
    ids: Sequence[UUID],
    attempts: Sequence[int],
    begun: Sequence[bool],
    delays: Sequence[float],
    reasons: Sequence[str],
) -> list[Moved]:
    """Back into the queue at no cost; `begun` where its code had started."""
    return _moved(
        await link.fetch(
            "give_back", worker=worker, ids=ids, attempts=attempts, begun=begun, delays=delays, reasons=reasons
        )
    )


async def cancel_running(
    link: Link,
    *,
    worker: UUID,
    ids: Sequence[UUID],
    attempts: Sequence[int],
    by: Sequence[str],
    reasons: Sequence[str | None],
) -> list[Moved]:
    """CANCELLED, said by the worker after the code has ended."""
    rows = await link.fetch("cancel_running", worker=worker, ids=ids, attempts=attempts, by=by, reasons=reasons)
    return [Moved(row["id"], JobStatus(row["status"])) for row in rows]


async def progress(
    link: Link, *, worker: UUID, ids: Sequence[UUID], attempts: Sequence[int], progress: Sequence[str]
) -> None:
    """The newest progress of each, JSON text."""
    await link.fetch("progress", worker=worker, ids=ids, attempts=attempts, progress=progress)


async def horizon(link: Link, *, seconds: float, n: int) -> list[Any]:
    """Jobs that fall due within `seconds`, at most `n` a queue: rows of id, pool, priority, due_in."""
    return await link.fetch("horizon", horizon=seconds, n=n)
