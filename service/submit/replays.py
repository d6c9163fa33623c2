"""Who holds an idempotency key, and what a second submit under it is answered.

A replay answers what the first submit was answered, whatever has happened to the job since.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from db import history, idempotency, jobs
from db.engine import Database, Link
from db.idempotency import Held
from db.jobs import Accepted
from db.lifecycle import JobStatus
from db.records import JobRecord
from service.http.problems import Problem
from service.http.strict_json import encode
from service.submit.submission import Submission

SINGLE = "POST /v1/jobs"
"""The route that keys of single submits, and of the items of a batch, belong to."""


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


async def kept_answer(
    database: Database, tenant: str, submission: Submission, hours: float
) -> Accepted | JobRecord | None:
    """The job that its key made, as it was answered then; None if nobody holds the key, or not any more.

    Accepted where the key made this very job, and only the answer to its commit was lost. Raises Problem
    `idempotency-key-reused`, and the errors of `db.errors`.
    """
    pair = (SINGLE, str(submission.job.idempotency_key))
    holder = (await idempotency.held(database.link, tenant, [pair], hours)).get(pair)
    if holder is None:
        return None
    if holder.expired:
        async with database.begin() as link:
            await idempotency.drop_expired(link, tenant, [pair], hours)
        return None
    differs = idempotency.differing(holder.content, submission.content)
    if differs:
        raise reused(holder, differs)
    record = await jobs.get(database.link, tenant, holder.job_ids[0])
    if record is None:
        return None
    kept = await _as_submitted(database.link, record, holder)
    if kept.id == submission.job.id:
        return Accepted(kept.id, kept.run_at, kept.created_at, kept.expires_at, 0.0)
    return kept


async def _as_submitted(link: Link, record: JobRecord, holder: Held) -> JobRecord:
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
