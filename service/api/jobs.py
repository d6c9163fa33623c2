"""`/v1/jobs`: submit, one or many; read one; change one that waits."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from db import failpoints, jobs
from db.audit import Action
from db.errors import DatabaseError
from db.jobs import Edit
from db.lifecycle import JobStatus
from db.records import JobRecord
from db.steady import steady
from service import audit, fields
from service.api.documents import BatchDocument, JobDocument
from service.auth.errors import refused
from service.auth.principal import Principal, principal_of
from service.changing import check_payload, locked, not_waiting, publish_queued
from service.fields import Body, read
from service.http.plain_route import PlainRoute
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
from service.openapi.operations import IF_MATCH, IF_NONE_MATCH, answers, header, operation, query
from service.openapi.parts import headers_named
from service.representation import JSON, accepted_body, job_body, job_response, json_response
from service.services import Services, services_of
from service.submit.batches import Batch, content_of_batch
from service.submit.preparing import Prepared
from service.submit.submission import BatchItemBody, Resolver, Submission, SubmitBody, UnknownTask, contradictions
from workers.hints import Hint

router = APIRouter(route_class=PlainRoute)

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


_NULLABLE = ("expires_at",)
"""Fields of an edit in which null says something: no expiry any more."""


def _optional_not_null(schema: dict[str, Any]) -> None:
    """Says that a field may be left out, and that null is no way to do so."""
    for name, field in schema["properties"].items():
        del field["default"]
        if name not in _NULLABLE:
            field.update(next(kind for kind in field.pop("anyOf") if kind != {"type": "null"}))


class EditBody(Body):
    """Body of `PATCH /v1/jobs/{id}`."""

    model_config = ConfigDict(json_schema_extra=_optional_not_null)

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

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: Any, field: ValidationInfo) -> Any:
        if value is None and field.field_name not in _NULLABLE:
            raise PydanticCustomError("null", "must not be null; what is left out stays as it is")
        return value


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
    accept = services.accepting.accept if key is None else services.accepting.accept_keyed
    found = await services.queued.submit(request.scope, principal.tenant, submission, accept)
    await failpoints.reach("api.answering")
    headers = {"Location": f"{request.scope.get('root_path', '')}/v1/jobs/{found.id}"}
    replayed = isinstance(found, JobRecord)
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait:
        now = None
        # The job is kept: what refuses to wait, or fails meanwhile, does not refuse it.
        with contextlib.suppress(Problem, DatabaseError):
            now = await final_or_now(services, principal, found.id, wait)
        if now is not None and (now.is_final or replayed):
            return Response(job_body(now), 200, headers, JSON)
    body = job_body(found) if isinstance(found, JobRecord) else accepted_body(submission.job, found)
    return Response(body, 202, headers, JSON)


def accepted_or_raise(resolver: Resolver, found: Submission | UnknownTask | list[FieldError]) -> Submission:
    """The submission. Raises Problem where it is none."""
    if isinstance(found, Submission):
        return found
    raise resolver.unknown_task(found.name) if isinstance(found, UnknownTask) else invalid(found)


async def final_or_now(services: Services, principal: Principal, job_id: UUID, wait: float) -> JobRecord | None:
    """The job once it is final, or as it is after `wait` seconds; None where it does not exist.

    Raises Problem `quota-exceeded` or `unavailable` where too many answers are held, and `unauthenticated` where the
    credential has ended meanwhile.
    """
    deadline = time.monotonic() + wait
    async with services.waiting.watch(job_id, principal) as watch:
        while True:
            record = await jobs.get(services.database.link, principal.tenant, job_id)
            if record is None or record.is_final or time.monotonic() >= deadline:
                return record
            if not await watch.until(deadline) and services.waiting.stopping:
                return record
            if not await services.guard.still_good(principal):
                raise refused("the credential has expired or was revoked")


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
    await services.limits.charge_batch(principal, request.scope, len(body.jobs))
    resolver = Resolver(services.catalogue, principal, max_crashes=services.settings.max_crashes)
    prepared = await Prepared.of(resolver, body.jobs)
    if key is None and not prepared.is_keyed:
        async with services.queued.room(request.scope, principal.tenant, len(body.jobs)):
            outcome = await services.batches.accept_plain(principal.tenant, prepared)
    else:
        content = {} if key is None else content_of_batch(body.jobs)
        batch = Batch(await prepared.all(), key, content)
        async with services.queued.room(request.scope, principal.tenant, len(body.jobs), batch) as taking:
            outcome = await services.batches.accept_keyed(principal.tenant, batch)
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
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request, ("wait",))
    wait, known = wait_of(request), tags_of(request, "if-none-match")
    record = await (
        final_or_now(services, principal, job_id, wait)
        if wait
        else jobs.get(services.database.link, principal.tenant, job_id)
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


def _edit(body: EditBody) -> tuple[Edit, list[str]]:
    """What changes, and the names of the fields the client gave."""
    given = list(body.model_fields_set)
    values: dict[str, Any] = {name: getattr(body, name) for name in given}
    for name in ("payload", "backoff", "tags", "metadata"):
        if name in values:
            values[name] = encode(values[name])
    return Edit(**values, set_expires_at="expires_at" in given), given


async def _edited(request: Request, job_id: UUID, new: Edit, given: Sequence[str]) -> JobRecord:
    services, principal, unchanged = services_of(request), principal_of(request), tags_of(request, "if-match")
    tenant = principal.tenant
    async with services.database.begin() as link:
        before = await locked(link, tenant, job_id)
        principal.require(before.task, before.priority)
        require_unchanged(before, unchanged)
        if new.max_attempts is not None and new.max_attempts <= before.failures:
            raise invalid_field("/max_attempts", f"the job has failed {before.failures} times already", "range")
        queued = await jobs.edit(link, tenant, job_id, new, given) if given else ()
        record = await jobs.get(link, tenant, job_id)
        if record is None or (given and not queued):
            raise not_waiting(job_id, before.status)
        await audit.record_change(link, request, Action.JOB_EDIT, before, record)
    publish_queued(services, queued)
    return record
