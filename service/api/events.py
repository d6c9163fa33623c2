"""`/v1/jobs/{id}/events`, `/v1/events`: jobs as they change, by Server-Sent Events."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from service.api.documents import JobItemDocument
from service.api.job_lists import FILTERS
from service.auth.principal import principal_of
from service.filters import filter_of, given_in_query
from service.http.guarded_route import GuardedRoute
from service.http.requests import JobId, refuse_unknown
from service.live.stream import EventStream
from service.openapi.operations import answers, header, operation
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)

LAST_ID = header("Last-Event-ID", "The id of the last event that was received: the stream goes on after it.")
_PAGING = {"limit", "cursor", "include"}

_EXAMPLE = 'id: 3b0e…\nevent: job\ndata: {"id":"0199…","status":"RUNNING","progress":{"done":3,"total":10},…}\n\n'


# In OpenAPI before 3.2 the schema of a stream is that of each event.
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["job", "end", "reset"]},
        "data": {"type": "string", "description": "Of `job`: a JobItemDocument, as JSON."},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}


def _answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """A stream, or a problem."""
    return answers(JobItemDocument, "quota-exceeded", *codes) | {
        200: {
            "description": "Events, until the server ends the stream. The data of `job` is a JobItemDocument",
            "content": {EventStream.media_type: {"schema": _EVENT, "example": _EXAMPLE}},
        }
    }


def _last_id(request: Request) -> str | None:
    return request.headers.get("last-event-id") or None


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="watch_job",
    summary="Follow a job until it is final",
    status_code=200,  # FastAPI would look for it in the class, which takes none
    response_class=EventStream,
    responses=_answers() | {204: {"description": "The job is final, and `Last-Event-ID` is that of its end"}},
    openapi_extra=operation("jobs:read", parameters=[LAST_ID]),
)
async def watch_job(request: Request, job_id: JobId) -> EventStream:
    """`event: job` with the state now, and with every state that it changes to; `event: end` after a final one."""
    refuse_unknown(request)
    live = services_of(request).live
    return EventStream(live.follow_job(principal_of(request), job_id, _last_id(request)))


@router.get(
    "/v1/events",
    operation_id="watch_jobs",
    summary="Follow the jobs that fit a filter",
    status_code=200,  # FastAPI would look for it in the class, which takes none
    response_class=EventStream,
    responses=_answers(),
    openapi_extra=operation("jobs:read", parameters=[*(one for one in FILTERS if one["name"] not in _PAGING), LAST_ID]),
)
async def watch_jobs(request: Request) -> EventStream:
    """The newest 50 jobs that fit, then every change. `event: reset`: something was left out, list the jobs again."""
    given, _ = given_in_query(request)
    live = services_of(request).live
    return EventStream(live.follow_jobs(principal_of(request), filter_of(given), _last_id(request)))
