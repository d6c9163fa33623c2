"""What changes of jobs have in common, whichever route makes them: the lock, the checks, the hints afterwards."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from db import jobs
from db.engine import Link
from db.jobs import Queued
from db.records import JobRecord
from service.http.problems import Problem, invalid, not_found
from service.services import Services
from workers.hints import Hint


async def locked(link: Link, tenant: str, job_id: UUID) -> JobRecord:
    """The job as it stands, which nobody else changes before the end of this transaction. Raises Problem `not-found`."""
    await jobs.lock(link, tenant, [job_id])
    record = await jobs.get(link, tenant, job_id)
    if record is None:
        raise not_found(f"job {job_id}")
    return record


async def check_payload(services: Services, task: str, payload: Mapping[str, Any] | None) -> None:
    """Raises Problem if no schema of the task takes `payload`; a task that nobody announced takes anything.

    Asks the catalogue, which may ask PostgreSQL: not for inside a transaction.
    """
    entry = None if payload is None else await services.catalogue.find(task)
    if entry is not None and payload is not None:
        errors = entry.errors(payload)
        if errors:
            raise invalid(errors)


def not_waiting(job_id: UUID, status: str) -> Problem:
    """The job does not wait to start."""
    return Problem(
        "job-not-waiting",
        f"job {job_id} is {status}; only a job that waits can be changed",
        job_status=status,
        job_id=str(job_id),
    )


def publish_queued(services: Services, queued: Iterable[Queued]) -> None:
    """Hints at jobs that stand in the queue (again); never waits."""
    services.publisher.offer([Hint(one.id, one.pool, one.priority, one.due_in) for one in queued])
