"""Statements over jobs on the client's side: submit, read, cancel, replay, run-now, edit.

One function a statement, or a short transaction of two. Functions that take a `Link` never commit; those that take the
`Database` own one transaction, which is over when they return. What a worker does to a job stands elsewhere.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.engine import Database, Link
from db.errors import BadRow
from db.lifecycle import JobStatus
from db.records import JobRecord

CHUNK = 1_000
"""Jobs in one statement of a bulk change: some 50 ms, far below the statement timeout."""

INSERT_CHUNK = 2_500
"""Jobs in one INSERT of a batch: below the statement timeout even when each payload is large."""


class NewJob(NamedTuple):
    """A job as it is submitted, every default resolved. JSON fields are JSON texts, checked before they come here.

    Of `run_at` and `delay` (seconds), and of `expires_at` and `expires_in` (seconds), at most one is given; the relative
    one counts on the database's clock.
    """

    id: UUID
    task: str
    pool: str
    priority: str
    payload: str
    max_attempts: int
    max_crashes: int
    timeout: float
    backoff: str
    tags: str = "[]"
    metadata: str = "{}"
    run_at: datetime | None = None
    delay: float | None = None
    expires_at: datetime | None = None
    expires_in: float | None = None
    idempotency_key: str | None = None


class Accepted(NamedTuple):
    """What the database decided about a submitted job. `due_in` is seconds from now on its clock."""

    id: UUID
    run_at: datetime
    created_at: datetime
    expires_at: datetime | None
    due_in: float


_BINDS = (
    *("ids", "tasks", "pools", "priorities", "payloads", "max_attempts", "max_crashes", "timeouts", "backoffs", "tags"),
    *("metadatas", "run_ats", "delays", "expires_ats", "expires_ins", "idempotency_keys"),
)
"""For each field of a NewJob, in its order, the bind that takes all of them."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that stands in the queue (again): what a hint needs. `due_in` is seconds from now on the database's clock."""

    id: UUID
    pool: str
    priority: str
    due_in: float


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an edge over some jobs: those it moved, and what stood in the way of the others."""

    moved: frozenset[UUID]
    found: dict[UUID, JobStatus]
    """Status each job had when it was locked; a job that is missing here does not exist."""
    queued: tuple[Queued, ...] = ()


def arrays(tenant: str | Sequence[str], jobs: Sequence[NewJob]) -> dict[str, Any]:
    """The binds of `parts/given_jobs.sql`. `tenant` owns all of `jobs`, or is one tenant for each."""
    columns = zip(*jobs, strict=True) if jobs else ((),) * len(_BINDS)
    return {
        "tenants": [tenant] * len(jobs) if isinstance(tenant, str) else list(tenant),
        **dict(zip(_BINDS, columns, strict=True)),
    }


def accepted(row: Any) -> Accepted:
    """From a row of `parts/queued_jobs.sql`, whose columns are in this order."""
    return Accepted(*row)


async def insert(link: Link, tenant: str | Sequence[str], jobs: Sequence[NewJob]) -> list[Accepted]:
    """Submits `jobs` in one statement; ids that are there already are left out of the answer.

    `tenant` owns all of them, or is one tenant for each. Raises BadRow if one of them cannot be stored; then none is.
    """
    return [accepted(row) for row in await link.fetch("insert_jobs", **arrays(tenant, jobs))]


async def bad_rows(database: Database, tenant: str, jobs: Sequence[NewJob], limit: int = 100) -> dict[UUID, str]:
    """Which of these the database refuses, and why, at most `limit` of them. Nothing stays inserted."""
    found: dict[UUID, str] = {}
    halves: list[Sequence[NewJob]] = [jobs]
    while halves and len(found) < limit:
        part = halves.pop()
        refusal = await _refusal(database, tenant, part)
        if refusal is None:
            continue
        if len(part) == 1:
            found[part[0].id] = refusal
        else:
            middle = len(part) // 2
            halves += [part[middle:], part[:middle]]
    return found


class _RollBackError(Exception):
    """Ends a trial without keeping it."""


async def _refusal(database: Database, tenant: str, jobs: Sequence[NewJob]) -> str | None:
    """Why the database does not take these together, or None; inserts nothing."""
    with contextlib.suppress(_RollBackError):
        async with database.begin() as link:
            try:
                await insert(link, tenant, jobs)
            except BadRow as error:
                return str(error)
            raise _RollBackError
    return None


async def get(link: Link, tenant: str, job_id: UUID) -> JobRecord | None:
    """One job, or None."""
    row = await link.row("get_jobs", tenant=tenant, ids=[job_id])
    return None if row is None else JobRecord.of(row.items())


async def final_among(link: Link, ids: Sequence[UUID]) -> list[UUID]:
    """Those of `ids` that are final, or do not exist."""
    return [row["id"] for row in await link.fetch("final_jobs", ids=list(ids))]


async def lock(link: Link, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Locks the rows in id order, inside a transaction. Returns id → row with `status`, `failures` and `task`."""
    return {row["id"]: row for row in await link.fetch("lock_jobs", tenant=tenant, ids=sorted(ids))}


def _statuses(locked: dict[UUID, Any]) -> dict[UUID, JobStatus]:
    return {job_id: JobStatus(row["status"]) for job_id, row in locked.items()}


async def cancel(link: Link, tenant: str, ids: Sequence[UUID], reason: str | None) -> Change:
    """Cancels what waits and asks for the cancellation of what runs; inside a transaction.

    `moved` holds those that are CANCELLED now and those that were asked for the first time.
    """
    locked = await lock(link, tenant, ids)
    here = sorted(locked)
    ended = await link.fetch("cancel", tenant=tenant, ids=here, reason=reason)
    asked = await link.fetch("ask_cancel", tenant=tenant, ids=here, reason=reason)
    return Change(frozenset(row["id"] for row in (*ended, *asked)), _statuses(locked))


async def replay(
    link: Link,
    tenant: str,
    ids: Sequence[UUID],
    *,
    delay: float = 0.0,
    payload: str | None = None,
    max_attempts: int | None = None,
    reason: str | None = None,
) -> Change:
    """Puts FAILED and CANCELLED jobs back, due in `delay` seconds; inside a transaction."""
    locked = await lock(link, tenant, ids)
    rows = await link.fetch(
        "replay",
        tenant=tenant,
        ids=sorted(locked),
        delay=delay,
        payload=payload,
        max_attempts=max_attempts,
        reason=reason,
    )
    return Change(frozenset(row["id"] for row in rows), _statuses(locked), _queued(rows))


async def run_now(link: Link, tenant: str, job_id: UUID) -> Change:
    """Makes a waiting job due; inside a transaction."""
    locked = await lock(link, tenant, [job_id])
    rows = await link.fetch("run_now", tenant=tenant, ids=sorted(locked))
    return Change(frozenset(row["id"] for row in rows), _statuses(locked), _queued(rows))


@dataclass(frozen=True, slots=True)
class Edit:
    """New values for a waiting job; None leaves a field as it is, `set_expires_at` makes even None a value."""

    priority: str | None = None
    pool: str | None = None
    run_at: datetime | None = None
    payload: str | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    backoff: str | None = None
    expires_at: datetime | None = None
    set_expires_at: bool = False
    tags: str | None = None
    metadata: str | None = None


async def edit(link: Link, tenant: str, job_id: UUID, new: Edit, fields: Sequence[str]) -> tuple[Queued, ...]:
    """Changes a job that waits, inside a transaction that has locked it; empty if it does not wait.

    `fields` names what the client gave: its former values go into the history.
    """
    binds = {name: getattr(new, name) for name in Edit.__dataclass_fields__}
    return _queued(await link.fetch("edit", tenant=tenant, id=job_id, fields=list(fields), **binds))


def _queued(rows: Sequence[Any]) -> tuple[Queued, ...]:
    return tuple(Queued(row["id"], row["pool"], row["priority"], row["due_in"]) for row in rows)
