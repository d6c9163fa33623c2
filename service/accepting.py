"""Committing single submits, alone or under an idempotency key.

Each is one transaction. An unkeyed submit is a single statement, so that many of them can share a commit; a keyed
one never shares, because whoever races for its key waits for that commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from db import history, idempotency, jobs
from db.engine import Database, Link
from db.errors import Locked
from db.idempotency import Held
from db.jobs import Accepted, NewJob
from db.lifecycle import JobStatus
from db.records import JobRecord
from db.steady import steady
from service.problems import Problem
from service.strict_json import encode
from service.submission import Submission

SINGLE = "POST /v1/jobs"
"""The route that keys of single submits, and of the items of a batch, belong to."""
ROUNDS = 3
"""A key may be released between losing it and looking who holds it; then it is tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A submit that was answered: the job as it was accepted, and whether an earlier request made it."""

    record: JobRecord
    replayed: bool
    due_in: float = 0.0


async def accept(database: Database, tenant: str, job: NewJob) -> Outcome:
    """Submits one job without a key. Raises BadRow, Locked, Unavailable."""

    async def step() -> Accepted:
        rows = await jobs.insert(database.link, tenant, [job])
        return rows[0] if rows else await _made_before(database.link, tenant, job.id)

    accepted = await steady(step, repeatable=True)
    return Outcome(_as_accepted(tenant, job, accepted), replayed=False, due_in=accepted.due_in)


async def _made_before(link: Link, tenant: str, job_id: UUID) -> Accepted:
    # The statement had been committed when the connection broke: this id is nobody else's.
    record = await jobs.get(link, tenant, job_id)
    if record is None:
        raise Locked(f"job {job_id} was inserted and is gone")
    return Accepted(record.id, record.run_at, record.created_at, record.expires_at, 0.0)


async def accept_keyed(database: Database, tenant: str, submission: Submission, hours: float) -> Outcome:
    """Submits one job under its key, or finds the job that the key made.

    Raises Problem `idempotency-key-reused` or `idempotency-in-flight`, and the errors of `db.errors`.
    """
    job = submission.job
    pair = (SINGLE, str(job.idempotency_key))
    for _ in range(ROUNDS):
        try:
            won = await idempotency.submit(
                database.link, tenant, SINGLE, jobs=[job], contents=[submission.content], hours=hours
            )
        except Locked:
            raise in_flight() from None
        if won:
            return Outcome(_as_accepted(tenant, job, won[0]), replayed=False, due_in=won[0].due_in)
        holder = (await idempotency.held(database.link, tenant, [pair], hours)).get(pair)
        if holder is None:
            continue
        if holder.expired:
            await _release(database, tenant, [pair], hours)
            continue
        differs = idempotency.differing(holder.content, submission.content)
        if differs:
            raise reused(holder, differs)
        record = await jobs.get(database.link, tenant, holder.job_ids[0])
        if record is not None:
            return Outcome(await as_submitted(database.link, record, holder), replayed=True)
    raise in_flight()


async def _release(database: Database, tenant: str, pairs: Sequence[tuple[str, str]], hours: float) -> None:
    async with database.begin() as link:
        await idempotency.drop_expired(link, tenant, pairs, hours)


def in_flight() -> Problem:
    """Another request holds the key and has not committed."""
    return Problem(
        "idempotency-in-flight",
        "another request with this idempotency key is still under way",
        headers={"Retry-After": "1"},
    )


def reused(holder: Held, differs: Sequence[str]) -> Problem:
    """The key made another job from other content."""
    return Problem(
        "idempotency-key-reused",
        "this idempotency key was used for a request with other content",
        differs=list(differs),
        job_id=str(holder.job_ids[0]) if holder.job_ids else None,
    )


def _as_accepted(tenant: str, job: NewJob, accepted: Accepted) -> JobRecord:
    return JobRecord(
        id=job.id,
        tenant=tenant,
        task=job.task,
        pool=job.pool,
        priority=job.priority,
        status=JobStatus.PENDING,
        payload=job.payload,
        attempt=0,
        failures=0,
        crashes=0,
        replays=0,
        max_attempts=job.max_attempts,
        max_crashes=job.max_crashes,
        timeout=job.timeout,
        backoff=job.backoff,
        run_at=accepted.run_at,
        created_at=accepted.created_at,
        started_at=None,
        finished_at=None,
        failed_at=None,
        expires_at=accepted.expires_at,
        cancel_requested_at=None,
        cancelled_by=None,
        cancel_reason=None,
        worker_id=None,
        result=None,
        errors=None,
        progress=None,
        tags=job.tags,
        metadata=job.metadata,
        idempotency_key=job.idempotency_key,
        unique_key=None,
        depends_on=[],
        parent_id=None,
        schedule_id=None,
        workflow_id=None,
    )


async def as_submitted(link: Link, record: JobRecord, holder: Held) -> JobRecord:
    """The job as its submit answered it: before anything ran, and before anybody edited it."""
    former: dict[str, Any] = {}
    for row in await history.rows(link, record.id):
        for name, value in (row.detail or {}).get("before", {}).items():
            former.setdefault(name, value)
    changes: dict[str, Any] = {
        name: encode(value) if name in ("payload", "backoff", "tags", "metadata") else value
        for name, value in former.items()
        if name not in ("run_at", "expires_at")  # the key's row keeps those two
    }
    return replace(
        record,
        status=JobStatus.PENDING,
        attempt=0,
        failures=0,
        crashes=0,
        replays=0,
        run_at=holder.run_at or record.run_at,
        expires_at=holder.expires_at,
        started_at=None,
        finished_at=None,
        failed_at=None,
        cancel_requested_at=None,
        cancelled_by=None,
        cancel_reason=None,
        worker_id=None,
        result=None,
        errors=None,
        progress=None,
        **changes,
    )
