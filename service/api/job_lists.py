"""Lists of jobs, the dead letter, and changes of many jobs at once."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from db import jobs, lists
from db.audit import Action, Kind
from db.engine import Link
from db.filters import JobFilter
from db.jobs import CHUNK, Change
from db.lifecycle import JobStatus
from db.lists import Position
from db.reading import Reader
from db.steady import steady
from service import audit, fields
from service.api.documents import ChangedDocument, JobPage
from service.auth.principal import Principal, principal_of
from service.changing import publish_queued
from service.fields import Body, read
from service.filters import filter_of, given_in_body, given_in_query, include_of
from service.http.cursors import cursor_place, cursor_text, list_hash
from service.http.guarded_route import GuardedRoute
from service.http.problems import invalid, invalid_field
from service.http.requests import body_of, id_of, moment, refuse_unknown, whole_number
from service.openapi import filter_parameters
from service.openapi.operations import answers, operation, query
from service.representation import HEAVY, item_document, json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)

MAX_PAGE = 200
MAX_BULK = 10_000
MAX_LOOKED = 10**12
"""Jobs that the pages before have looked at; nobody has more."""
_PAGING = ("limit", "cursor", "include")

INCLUDE = {"type": "array", "items": {"type": "string", "enum": list(HEAVY)}}
FILTERS = [
    *filter_parameters.FILTERS,
    query("limit", "Jobs a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}),
    query("cursor", "`next_cursor` of the page before."),
    query("include", "Heavy fields to carry, comma separated: payload, result, errors.", INCLUDE)
    | {"style": "form", "explode": False},
]


class BulkBody(Body):
    """Body of `POST /v1/jobs/cancel`, `/v1/jobs/replay` and `/v1/dead-letter/replay`."""

    filter: Annotated[dict[str, Any], WithJsonSchema(filter_parameters.IN_BODY)]
    dry_run: bool = False
    limit: Annotated[int, fields.WHOLE] = Field(MAX_BULK, ge=1, le=MAX_BULK)
    reason: fields.Reason | None = None


@router.get(
    "/v1/jobs",
    operation_id="list_jobs",
    summary="List jobs, newest first",
    responses=answers(JobPage),
    openapi_extra=operation("jobs:read", parameters=FILTERS),
)
async def list_jobs(request: Request) -> Response:
    """Keyset pages without totals. A page may be short, even empty, and still have a `next_cursor`."""
    services, tenant = services_of(request), principal_of(request).tenant
    given, paging = given_in_query(request, _PAGING)
    wanted = filter_of(given)
    limit = whole_number("limit", paging.get("limit", "50"), 1, MAX_PAGE)
    include = include_of(paging.get("include"))
    digest = list_hash("jobs", given)
    after = _position(paging.get("cursor"), digest)
    page = await lists.newest(
        Reader(services.database), tenant, wanted, after=after, limit=limit, include=include & {"payload", "result"}
    )
    following = None if page.after is None else cursor_text(digest, page.after.id, page.after.looked)
    answer = {"items": [item_document(job, include) for job in page.jobs], "next_cursor": following}
    if page.searched_back_to is not None:
        answer["searched_back_to"] = moment_text(page.searched_back_to)
    return json_response(answer)


def _position(cursor: str | None, digest: str) -> Position | None:
    if cursor is None:
        return None
    match cursor_place(cursor, digest):
        case [str(text), int(looked)] if (found := id_of(text)) is not None and 0 <= looked <= MAX_LOOKED:
            return Position(found, looked)
    raise invalid_field("cursor", "is no cursor of this list", "cursor")


@router.get(
    "/v1/dead-letter",
    operation_id="list_dead_letter",
    summary="List FAILED jobs, newest failure first",
    responses=answers(JobPage),
    openapi_extra=operation("jobs:read", parameters=FILTERS),
)
async def list_dead_letter(request: Request) -> Response:
    """The same filters as the list of jobs."""
    services, tenant = services_of(request), principal_of(request).tenant
    given, paging = given_in_query(request, _PAGING)
    wanted = _only(filter_of(given), frozenset({JobStatus.FAILED}))
    limit = whole_number("limit", paging.get("limit", "50"), 1, MAX_PAGE)
    include = include_of(paging.get("include"))
    digest = list_hash("dead-letter", given)
    after = _failure(paging.get("cursor"), digest)
    found, more = await lists.failures(
        Reader(services.database), tenant, wanted, after=after, limit=limit, include=include & {"payload", "result"}
    )
    following = cursor_text(digest, moment_text(found[-1].failed_at), found[-1].id) if more else None
    return json_response({"items": [item_document(job, include) for job in found], "next_cursor": following})


def _failure(cursor: str | None, digest: str) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    match cursor_place(cursor, digest):
        case [str(at), str(text)] if (found := id_of(text)) is not None:
            with contextlib.suppress(ValueError):
                return moment(at), found
    raise invalid_field("cursor", "is no cursor of this list", "cursor")


def _only(wanted: JobFilter, statuses: frozenset[JobStatus]) -> JobFilter:
    """`wanted`, and of these statuses; none in common means that nothing fits."""
    both = wanted.statuses & statuses if wanted.statuses else statuses
    return replace(wanted, statuses=both, nothing=wanted.nothing or not both)


Step = Callable[[Link, str, Sequence[UUID], str | None], Awaitable[Change]]


async def _replay(link: Link, tenant: str, ids: Sequence[UUID], reason: str | None) -> Change:
    return await jobs.replay(link, tenant, ids, reason=reason)


async def _bulk(request: Request, action: Action, statuses: frozenset[JobStatus], step: Step) -> Response:
    """Finds ids first, then changes them in chunks, each a transaction: what moved meanwhile is left alone."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    body = read(BulkBody, await body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    wanted = _only(_allowed(principal, filter_of(given_in_body(body.filter), "/filter/")), statuses)
    if action is Action.JOBS_CANCEL:
        wanted = replace(wanted, not_asked_to_cancel=True)
    ids, more = await lists.ids(Reader(services.database), principal.tenant, wanted, body.limit)
    if body.dry_run:
        return json_response({"matched": len(ids), "changed": 0, "more": more})
    if action is Action.JOBS_CANCEL:
        changed = await _in_chunks(request, action, step, body, ids)
        return json_response({"matched": len(ids), "changed": changed, "more": more})
    async with services.queued.room_for_some(request.scope, principal.tenant, len(ids)) as taking:
        fitting = ids[: taking.jobs]
        taking.made = await _in_chunks(request, action, step, body, fitting)
    return json_response({"matched": len(fitting), "changed": taking.made, "more": more or len(fitting) < len(ids)})


async def _in_chunks(request: Request, action: Action, step: Step, body: BulkBody, ids: Sequence[UUID]) -> int:
    """How many were changed."""
    changed = 0
    for start in range(0, len(ids), CHUNK):
        changed += await _chunk(request, action, step, body, ids[start : start + CHUNK])
    return changed


def _allowed(principal: Principal, wanted: JobFilter) -> JobFilter:
    """`wanted`, without the jobs whose priority a narrowed credential must not touch.

    Raises Problem where it would touch tasks that are not the credential's, or names such a priority.
    """
    if principal.tasks is not None and wanted.task is None:
        raise invalid_field(
            "/filter/task", f"must be given: this credential is for the tasks {', '.join(principal.tasks)}", "forbidden"
        )
    principal.require(wanted.task or "", wanted.priority)
    return wanted if principal.max_priority is None else replace(wanted, priorities=principal.priorities)


async def _chunk(request: Request, action: Action, step: Step, body: BulkBody, ids: Sequence[UUID]) -> int:
    services, tenant = services_of(request), principal_of(request).tenant

    async def once() -> Change:
        async with services.database.begin() as link:
            change = await step(link, tenant, ids, body.reason)
            if change.moved:
                await audit.record(
                    *(link, request, action, Kind.JOBS, None),
                    after={"filter": audit.filter_kept(body.filter), "changed": len(change.moved)},
                    reason=body.reason,
                    object_ids=sorted(change.moved),
                )
            return change

    change = await steady(once)
    publish_queued(services, change.queued)
    running = {job_id for job_id, status in change.found.items() if status == JobStatus.RUNNING}
    if not change.queued:
        services.publisher.offer_final(sorted(change.moved - running))
    return len(change.moved)


_BULK_EXAMPLE = {"filter": {"task": "email.*", "tag": ["newsletter"]}, "dry_run": True, "limit": 1000}


@router.post(
    "/v1/jobs/cancel",
    operation_id="cancel_jobs",
    summary="Cancel the jobs that fit a filter",
    responses=answers(ChangedDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("jobs:cancel", body=BulkBody, example=_BULK_EXAMPLE),
)
async def cancel_jobs(request: Request) -> Response:
    """Waiting jobs end at once, running ones are asked; `more` says that the limit left some."""
    statuses = frozenset({JobStatus.WAITING, JobStatus.PENDING, JobStatus.RETRYING, JobStatus.RUNNING})
    return await _bulk(request, Action.JOBS_CANCEL, statuses, jobs.cancel)


@router.post(
    "/v1/jobs/replay",
    operation_id="replay_jobs",
    summary="Replay the FAILED and CANCELLED jobs that fit a filter",
    responses=answers(ChangedDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("jobs:replay", body=BulkBody, example=_BULK_EXAMPLE),
)
async def replay_jobs(request: Request) -> Response:
    """Each as by `POST /v1/jobs/{id}/replay`."""
    return await _bulk(request, Action.JOBS_REPLAY, frozenset({JobStatus.FAILED, JobStatus.CANCELLED}), _replay)


@router.post(
    "/v1/dead-letter/replay",
    operation_id="replay_dead_letter",
    summary="Replay the FAILED jobs that fit a filter",
    responses=answers(ChangedDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("jobs:replay", body=BulkBody, example=_BULK_EXAMPLE),
)
async def replay_dead_letter(request: Request) -> Response:
    """As `POST /v1/jobs/replay`, over FAILED jobs only."""
    return await _bulk(request, Action.DEAD_LETTER_REPLAY, frozenset({JobStatus.FAILED}), _replay)
