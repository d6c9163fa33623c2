"""`/v1/jobs`: submit, one or many; read one; change one that waits."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from db import failpoints, jobs
from db.audit import Action
from db.engine import Link
from db.jobs import Edit
from db.lifecycle import JobStatus
from db.records import JobRecord
from db.steady import steady
from service import audit, fields
from service.api.documents import BatchDocument, JobDocument
from service.auth.principal import principal_of
from service.fields import Body, read
from service.http.plain_route import PlainRoute, refuse_dependencies
from service.http.preconditions import is_named, require_unchanged, tags_of
from service.http.problems import FieldError, Problem, invalid, invalid_field, not_found
from service.http.requests import (
    MAX_BATCH_BODY,
    MAX_WAIT,
    JobId,
    body_of,
    idempotency_key_of,
    refuse_unknown,
    wait_of,
)
from service.http.strict_json import encode
from service.limits.queued import QueueLimit
from service.openapi.operations import IF_MATCH, IF_NONE_MATCH, answers, header, operation, query
from service.openapi.parts import headers_named
from service.representation import JSON, accepted_body, job_body, job_response, json_response
from service.services import Services, services_of
from service.submit.accepting import Accepting
from service.submit.batches import Batch, accept_keyed, accept_plain, content_of_batch
from service.submit.preparing import Prepared
from service.submit.submission import BatchItemBody, Resolver, Submission, SubmitBody, UnknownTask, contradictions
from workers.hints import Hint


@contextlib.asynccontextmanager
async def _accepting(app: FastAPI) -> AsyncIterator[None]:
    """Single submits of one process go through one object; it is empty before the application closes its connections."""
    refuse_dependencies(app)
    services: Services = app.state.services
    accepting = Accepting(services.database, services.publisher, hours=services.settings.idempotency_hours)
    app.state.accepting = accepting
    try:
        yield
    finally:
        await accepting.stop()


router = APIRouter(lifespan=_accepting, route_class=PlainRoute)

MAX_BATCH = 10_000
"""Jobs in one batch."""

WAIT = query(
    "wait",
    "Hold the answer until the job is final, at most so many seconds.",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
)
KEY = header(
    "Idempotency-Key",
    "1 to 255 visible ASCII characters, as a structured string (RFC 9651) or without quotes: the same key never makes a "
    "second job.",
    {"type": "string", "pattern": r'^("([!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$'},
)
EXAMPLE = {"task": "email.send", "payload": {"to": "ada@example.org"}, "priority": "high", "tags": ["welcome"]}


class BatchBody(Body):
    """Body of `POST /v1/jobs/batch`; each item is checked like a submit, and may carry `idempotency_key`."""

    jobs: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_BATCH)


class EditBody(Body):
    """Body of `PATCH /v1/jobs/{id}`."""

    priority: fields.PriorityName | None = None
    pool: fields.PoolName | None = None
    run_at: fields.Moment | None = None
    payload: dict[str, Any] | None = None
    max_attempts: fields.MaxAttempts | None = None
    timeout: fields.Timeout | None = None
    backoff: fields.Backoff | None = None
    expires_at: fields.Moment | None = None
    tags: fields.Tags | None = None
    metadata: fields.Metadata | None = None


@router.post(
    "/v1/jobs",
    status_code=202,
    operation_id="submit_job",
    summary="Submit a job",
    responses=answers(
        JobDocument,
        *("unknown-task", "idempotency-key-reused", "idempotency-in-flight"),
        status=202,
        also=200,
        headers=("Location", "Idempotency-Replayed"),
    ),
    openapi_extra=operation("jobs:submit", body=SubmitBody, example=EXAMPLE, parameters=[WAIT, KEY]),
)
async def submit(request: Request) -> Response:
    """202 once the job is committed. With `wait`: 200 if it is final in time."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request, ("wait",))
    wait = wait_of(request)
    key = idempotency_key_of(request)
    sent = await body_of(request)
    resolver = Resolver(services.catalogue, principal, max_crashes=services.settings.max_crashes)
    submission = accepted_or_raise(resolver, await resolver.submission(sent, key=key))
    accepting: Accepting = request.app.state.accepting
    queued: QueueLimit = request.app.state.queued
    accept = accepting.accept if key is None else accepting.accept_keyed
    found = await queued.submit(request.scope, principal.tenant, submission, accept)
    await failpoints.reach("api.answering")
    headers = {"Location": f"{request.scope.get('root_path', '')}/v1/jobs/{found.id}"}
    replayed = isinstance(found, JobRecord)
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait:
        now = await final_or_now(services, principal.tenant, found.id, wait)
        if now is not None and (now.is_final or replayed):
            return Response(job_body(now), 200, headers, JSON)
    body = job_body(found) if isinstance(found, JobRecord) else accepted_body(submission.job, found)
    return Response(body, 202, headers, JSON)


def accepted_or_raise(resolver: Resolver, found: Submission | UnknownTask | list[FieldError]) -> Submission:
    """The submission. Raises Problem where it is none."""
    if isinstance(found, Submission):
        return found
    raise resolver.unknown_task(found.name) if isinstance(found, UnknownTask) else invalid(found)


async def final_or_now(services: Services, tenant: str, job_id: UUID, wait: float) -> JobRecord | None:
    """The job once it is final, or as it is after `wait` seconds; None where it does not exist."""
    deadline = time.monotonic() + wait
    async with services.waiting.watch(job_id) as watch:
        while True:
            record = await jobs.get(services.database.link, tenant, job_id)
            if record is None or record.is_final or time.monotonic() >= deadline:
                return record
            if not await watch.until(deadline) and services.waiting.stopping:
                return record


@router.post(
    "/v1/jobs/batch",
    status_code=202,
    operation_id="submit_jobs",
    summary="Submit up to 10,000 jobs in one transaction",
    responses=answers(
        BatchDocument,
        *("unknown-task", "idempotency-key-reused", "idempotency-in-flight"),
        status=202,
        headers=("Idempotency-Replayed",),
    ),
    openapi_extra=operation(
        "jobs:submit",
        body=BatchBody,
        items={"jobs": BatchItemBody},
        example={"jobs": [EXAMPLE]},
        parameters=[KEY],
    ),
)
async def submit_batch(request: Request) -> Response:
    """All or nothing; the answer has the order of the request."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    key = idempotency_key_of(request)
    body = read(BatchBody, await body_of(request, limit=MAX_BATCH_BODY))
    if isinstance(body, list):
        raise invalid(body)
    await request.app.state.limits.charge_batch(principal, request.scope, len(body.jobs))
    prepared = Prepared(Resolver(services.catalogue, principal, max_crashes=services.settings.max_crashes), body.jobs)
    queued: QueueLimit = request.app.state.queued
    if key is None and not prepared.is_keyed:
        async with queued.room(request.scope, principal.tenant, len(body.jobs)):
            outcome = await accept_plain(services.database, principal.tenant, prepared)
    else:
        content = {} if key is None else content_of_batch(body.jobs)
        batch = Batch(await prepared.all(), key, content)
        async with queued.room(request.scope, principal.tenant, len(body.jobs), batch) as taking:
            hours = services.settings.idempotency_hours
            outcome = await accept_keyed(services.database, principal.tenant, batch, hours)
            taking.made = len(outcome.accepted)
    made = {one.job.id: one.job for one in prepared.submissions}
    await failpoints.reach("api.batch.publishing")
    services.publisher.offer(
        [Hint(row.id, made[row.id].pool, made[row.id].priority, row.due_in) for row in outcome.accepted]
    )
    answer = [
        {"id": str(job_id), "status": JobStatus.PENDING.value, "replayed": position in outcome.replayed}
        for position, job_id in enumerate(outcome.ids)
    ]
    return json_response({"jobs": answer}, 202, {"Idempotency-Replayed": "true"} if outcome.whole else None)


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="get_job",
    summary="Read a job",
    responses=answers(JobDocument, headers=("ETag",))
    | {304: {"description": "It is still what `If-None-Match` names", "headers": headers_named(("ETag",))}},
    openapi_extra=operation("jobs:read", parameters=[WAIT, IF_NONE_MATCH]),
)
async def get_job(request: Request, job_id: JobId) -> Response:
    """The job; with `wait`, once it is final or time is up."""
    services, tenant = services_of(request), principal_of(request).tenant
    refuse_unknown(request, ("wait",))
    wait, known = wait_of(request), tags_of(request, "if-none-match")
    record = await (
        final_or_now(services, tenant, job_id, wait) if wait else jobs.get(services.database.link, tenant, job_id)
    )
    if record is None:
        raise not_found(f"job {job_id}")
    answer = job_response(record)
    if is_named(known, answer.headers["etag"]):
        return Response(status_code=304, headers={"ETag": answer.headers["etag"]})
    return answer


@router.patch(
    "/v1/jobs/{job_id}",
    operation_id="edit_job",
    summary="Change a job that waits",
    responses=answers(JobDocument, "job-not-waiting", "precondition-failed", headers=("ETag",)),
    openapi_extra=operation("jobs:submit", body=EditBody, example={"priority": "high"}, parameters=[IF_MATCH]),
)
async def edit_job(request: Request, job_id: JobId) -> Response:
    """Only the fields given change; `expires_at: null` takes the expiry away."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    body = read(EditBody, await body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    record = await jobs.get(services.database.link, principal.tenant, job_id)
    if record is None:
        raise not_found(f"job {job_id}")
    principal.require(record.task, body.priority)
    await check_payload(services, record.task, body.payload)
    errors = contradictions(body.run_at, None, body.expires_at, None)
    if errors:
        raise invalid(errors)
    new, given = _edit(body)
    return job_response(await steady(lambda: _edited(request, job_id, new, given)))


async def check_payload(services: Services, task: str, payload: Mapping[str, Any] | None) -> None:
    """Raises Problem if no schema of the task takes `payload`; a task that nobody announced takes anything."""
    entry = None if payload is None else await services.catalogue.find(task)
    if entry is not None and payload is not None:
        errors = entry.errors(payload)
        if errors:
            raise invalid(errors)


def _edit(body: EditBody) -> tuple[Edit, list[str]]:
    """What changes, and the names of the fields the client gave."""
    given = [name for name in body.model_fields_set if getattr(body, name) is not None or name == "expires_at"]
    values: dict[str, Any] = {name: getattr(body, name) for name in given}
    for name in ("payload", "backoff", "tags", "metadata"):
        if name in values:
            values[name] = encode(values[name])
    return Edit(**values, set_expires_at="expires_at" in given), given


async def locked(link: Link, tenant: str, job_id: UUID) -> JobRecord:
    """The job as it stands, which nobody else changes before the end of this transaction. Raises Problem `not-found`."""
    await jobs.lock(link, tenant, [job_id])
    record = await jobs.get(link, tenant, job_id)
    if record is None:
        raise not_found(f"job {job_id}")
    return record


async def _edited(request: Request, job_id: UUID, new: Edit, given: Sequence[str]) -> JobRecord:
    services, tenant, unchanged = services_of(request), principal_of(request).tenant, tags_of(request, "if-match")
    async with services.database.begin() as link:
        before = await locked(link, tenant, job_id)
        require_unchanged(before, unchanged)
        if new.max_attempts is not None and new.max_attempts <= before.failures:
            raise invalid_field("/max_attempts", f"the job has failed {before.failures} times already", "range")
        queued = await jobs.edit(link, tenant, job_id, new, given) if given else ()
        record = await jobs.get(link, tenant, job_id)
        if record is None or (given and not queued):
            raise not_waiting(job_id, before.status)
        await audit.record_change(link, request, Action.JOB_EDIT, before, record)
    services.publisher.offer([Hint(one.id, one.pool, one.priority, one.due_in) for one in queued])
    return record


def not_waiting(job_id: UUID, status: str) -> Problem:
    """The job does not wait to start."""
    return Problem(
        "job-not-waiting",
        f"job {job_id} is {status}; only a job that waits can be changed",
        job_status=status,
        job_id=str(job_id),
    )
