"""What is done to one job: cancel, run-now, replay; and its history."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import failpoints, history, jobs
from db.audit import Action
from db.engine import Link
from db.history import HistoryRow
from db.jobs import Change
from db.lifecycle import FINAL, JobStatus
from db.records import JobRecord
from db.steady import steady
from service import audit, fields
from service.api.documents import History, JobDocument
from service.auth.principal import principal_of
from service.changing import check_payload, locked, not_waiting, publish_queued
from service.fields import Body, ReasonBody, read
from service.http.guarded_route import GuardedRoute
from service.http.preconditions import require_unchanged, tags_of
from service.http.problems import Problem, invalid, not_found
from service.http.requests import JobId, action_body_of, refuse_unknown
from service.http.strict_json import encode
from service.openapi.operations import IF_MATCH, answers, operation
from service.representation import job_response, json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)


class ReplayBody(Body):
    """Body of `POST /v1/jobs/{id}/replay`."""

    payload: dict[str, Any] | None = None
    delay: fields.Delay | None = None
    max_attempts: fields.MaxAttempts | None = None
    reason: fields.Reason | None = None


Step = Callable[[Link], Awaitable[Change]]


async def _change(
    request: Request, action: Action, job_id: UUID, step: Step, reason: str | None = None
) -> tuple[JobRecord, Change]:
    """One edge over one job in one transaction, told in the audit log, and the job afterwards.

    Raises Problem `not-found`, `forbidden` or `precondition-failed`.
    """
    services, principal, unchanged = services_of(request), principal_of(request), tags_of(request, "if-match")

    async def once() -> tuple[JobRecord, Change]:
        async with services.database.begin() as link:
            before = await locked(link, principal.tenant, job_id)
            principal.require(before.task, before.priority)
            require_unchanged(before, unchanged)
            change = await step(link)
            record = await jobs.get(link, principal.tenant, job_id) or before
            await audit.record_change(link, request, action, before, record, reason=reason)
            await failpoints.reach("api.change.committing")
        await failpoints.reach("api.change.committed")
        return record, change

    record, change = await steady(once)
    publish_queued(services, change.queued)
    return record, change


def _conflict(code: str, record: JobRecord, why: str) -> Problem:
    return Problem(
        code, f"job {record.id} is {record.status}; {why}", job_status=record.status.value, job_id=str(record.id)
    )


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=answers(JobDocument, "job-already-final", "precondition-failed", headers=("ETag",)),
    openapi_extra=operation(
        "jobs:cancel", body=ReasonBody, required=False, example={"reason": "ordered twice"}, parameters=[IF_MATCH]
    ),
)
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """A waiting job is CANCELLED at once; a running one is asked to stop, and may still end SUCCESS."""
    services, tenant = services_of(request), principal_of(request).tenant
    refuse_unknown(request)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    record, change = await _change(
        *(request, Action.JOB_CANCEL, job_id),
        lambda link: jobs.cancel(link, tenant, [job_id], body.reason),
        body.reason,
    )
    if not change.moved and record.status in FINAL - {JobStatus.CANCELLED}:
        raise _conflict("job-already-final", record, "a job that ended cannot be cancelled")
    if change.moved and record.is_final:
        services.publisher.offer_final([job_id])
    return job_response(record)


@router.post(
    "/v1/jobs/{job_id}/run-now",
    operation_id="run_job_now",
    summary="Start a waiting job as soon as possible",
    responses=answers(JobDocument, "job-not-waiting", "precondition-failed", headers=("ETag",)),
    openapi_extra=operation("jobs:replay", body=Body, required=False, parameters=[IF_MATCH]),
)
async def run_job_now(request: Request, job_id: JobId) -> Response:
    """`run_at` becomes now; no budget is touched."""
    tenant = principal_of(request).tenant
    refuse_unknown(request)
    body = read(Body, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    record, change = await _change(request, Action.JOB_RUN_NOW, job_id, lambda link: jobs.run_now(link, tenant, job_id))
    if not change.moved:
        raise not_waiting(job_id, record.status)
    return job_response(record)


@router.post(
    "/v1/jobs/{job_id}/replay",
    operation_id="replay_job",
    summary="Put a FAILED or CANCELLED job back",
    responses=answers(JobDocument, "not-replayable", "precondition-failed", headers=("ETag",)),
    openapi_extra=operation(
        "jobs:replay", body=ReplayBody, required=False, example={"delay": 60}, parameters=[IF_MATCH]
    ),
)
async def replay_job(request: Request, job_id: JobId) -> Response:
    """PENDING again, with fresh budgets; `errors` and the id are kept."""
    services, principal = services_of(request), principal_of(request)
    tenant = principal.tenant
    refuse_unknown(request)
    body = read(ReplayBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    # What could not be replayed is told so, and not when there is room again; the edge decides all of it anew.
    found = await jobs.get(services.database.link, tenant, job_id)
    if found is None:
        raise not_found(f"job {job_id}")
    principal.require(found.task, found.priority)
    require_unchanged(found, tags_of(request, "if-match"))
    if found.status not in FINAL - {JobStatus.SUCCESS}:
        raise _not_replayable(found)
    await check_payload(services, found.task, body.payload)
    async with services.queued.room(request.scope, tenant, 1) as taking:
        record, change = await _change(
            *(request, Action.JOB_REPLAY, job_id),
            lambda link: jobs.replay(
                link,
                tenant,
                [job_id],
                delay=body.delay or 0.0,
                payload=None if body.payload is None else encode(body.payload),
                max_attempts=body.max_attempts,
                reason=body.reason,
            ),
            body.reason,
        )
        taking.made = len(change.moved)
    if not change.moved:
        raise _not_replayable(record)
    return job_response(record)


def _not_replayable(record: JobRecord) -> Problem:
    return _conflict("not-replayable", record, "only FAILED and CANCELLED jobs can be replayed")


@router.get(
    "/v1/jobs/{job_id}/history",
    operation_id="get_job_history",
    summary="What happened to a job",
    responses=answers(History),
    openapi_extra=operation("jobs:read"),
)
async def get_history(request: Request, job_id: JobId) -> Response:
    """Oldest first."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    record = await jobs.get(services.database.link, principal.tenant, job_id)
    if record is None:
        raise not_found(f"job {job_id}")
    return json_response({"items": told(record, await history.rows(services.database.link, job_id))})


def told(job: JobRecord, rows: list[HistoryRow]) -> list[dict[str, Any]]:
    """A job's whole history: its rows, and between them what columns say (submitted, started, finished). Pure."""
    started: set[int] = set()
    events = [_event(job.created_at, "submitted", "PENDING", 0, by="client")]

    def start(at: datetime | None, attempt: int, worker: UUID | None) -> None:
        if at is not None and attempt not in started:
            started.add(attempt)
            events.append(_event(at, "started", "RUNNING", attempt, worker=worker))

    for row in rows:
        start(row.started_at, row.attempt, row.worker_id)
        detail = None if row.detail is None else _in_utc(row.detail)
        if row.event == "replayed" and detail is not None and isinstance(detail.get("finished_at"), str):
            at = datetime.fromisoformat(detail["finished_at"])
            by, reason = detail.get("cancelled_by"), detail.get("cancel_reason")
            events.append(_finished(at, str(detail.get("status")), row.attempt, row.worker_id, by=by, reason=reason))
        events.append(
            _event(row.at, row.event, row.status, row.attempt, worker=row.worker_id, by=row.by, detail=detail)
        )
    start(job.started_at, job.attempt, job.worker_id)
    if job.finished_at is not None:
        ended = _finished(
            *(job.finished_at, job.status.value, job.attempt, job.worker_id),
            by=job.cancelled_by,
            reason=job.cancel_reason,
        )
        events.append(ended)
    # Stable: what happened in one statement stays in the order above.
    events.sort(key=lambda event: event["at"])
    return events


_MOMENTS = ("run_at", "expires_at", "finished_at")
"""Members of a detail that are times."""


def _in_utc(detail: dict[str, Any]) -> dict[str, Any]:
    """`detail` with its times, which PostgreSQL wrote with an offset, in the form of all other times."""
    times = {
        name: moment_text(datetime.fromisoformat(detail[name]))
        for name in _MOMENTS
        if isinstance(detail.get(name), str)
    }
    before = detail.get("before")
    return detail | times | ({"before": _in_utc(before)} if isinstance(before, dict) else {})


def _finished(
    at: datetime, status: str, attempt: int, worker: UUID | None, *, by: str | None, reason: str | None
) -> dict[str, Any]:
    detail = {"reason": reason} if status == JobStatus.CANCELLED and reason else None
    return _event(at, "finished", status, attempt, worker=worker, by=by, detail=detail)


def _event(
    at: datetime,
    event: str,
    status: str,
    attempt: int,
    *,
    worker: UUID | None = None,
    by: str | None = None,
    detail: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "at": moment_text(at),
        "event": event,
        "status": status,
        "attempt": attempt,
        "worker": None if worker is None else str(worker),
        "by": by,
        "detail": detail,
    }
