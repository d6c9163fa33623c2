"""`/v1/tasks`: the catalogue, and pausing a task."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import tasks
from db.audit import Action, Kind
from db.engine import Link
from db.pauses import Turned
from db.steady import steady
from service import audit
from service.api.documents import TaskDocument, Tasks
from service.catalogue import Entry
from service.fields import ReasonBody, read
from service.http.guarded_route import GuardedRoute
from service.http.problems import invalid, not_found
from service.http.requests import action_body_of, refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response, moment_text
from service.services import Services, services_of

router = APIRouter(route_class=GuardedRoute)


def document(entry: Entry) -> dict[str, Any]:
    """A task as clients see it: schemas and defaults are those announced last."""
    newest, first = entry.newest, entry.known[0]
    return {
        "name": entry.name,
        "payload_schema": newest.payload_schema,
        "result_schema": newest.result_schema,
        "defaults": newest.defaults,
        "live": entry.live,
        "versions": len(entry.known),
        "announced_at": moment_text(first.announced_at),
        "paused": first.paused_at is not None,
        "paused_at": moment_text(first.paused_at),
        "pause_reason": first.pause_reason,
    }


@router.get(
    "/v1/tasks",
    operation_id="list_tasks",
    summary="The catalogue of tasks",
    responses=answers(Tasks),
    openapi_extra=operation("queues:read"),
)
async def list_tasks(request: Request) -> Response:
    """By name. `live` counts workers; a task stays known when its workers stop."""
    refuse_unknown(request)
    entries = await services_of(request).catalogue.entries()
    return json_response({"items": [document(entries[name]) for name in sorted(entries)]})


@router.get(
    "/v1/tasks/{name}",
    operation_id="get_task",
    summary="One task",
    responses=answers(TaskDocument),
    openapi_extra=operation("queues:read"),
)
async def get_task(request: Request, name: str) -> Response:
    """With its schemas and defaults."""
    refuse_unknown(request)
    return await _one(services_of(request), name)


@router.post(
    "/v1/tasks/{name}/pause",
    operation_id="pause_task",
    summary="Start no more jobs of a task",
    responses=answers(TaskDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("queues:manage", body=ReasonBody, required=False, example={"reason": "provider down"}),
)
async def pause_task(request: Request, name: str) -> Response:
    """What runs goes on; submits are still accepted. Pausing twice is pausing once."""
    refuse_unknown(request)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    pause = partial(tasks.pause, task=name, reason=body.reason)
    return await _turn(request, Action.TASK_PAUSE, name, pause, body.reason)


@router.post(
    "/v1/tasks/{name}/resume",
    operation_id="resume_task",
    summary="Start jobs of a task again",
    responses=answers(TaskDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("queues:manage", body=ReasonBody, required=False),
)
async def resume_task(request: Request, name: str) -> Response:
    """Resuming a task that is not paused does nothing."""
    refuse_unknown(request)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    return await _turn(request, Action.TASK_RESUME, name, partial(tasks.resume, task=name), body.reason)


async def _turn(
    request: Request, action: Action, name: str, step: Callable[[Link], Awaitable[Turned | None]], reason: str | None
) -> Response:
    """Pauses or resumes, and tells it in the audit log, in one transaction. Raises Problem `not-found`."""
    services = services_of(request)
    if "\0" in name:
        raise not_found(f"task {name[:200]!r}")

    async def once() -> None:
        async with services.database.begin() as link:
            turned = await step(link)
            if turned is None:
                raise not_found(f"task {name[:200]!r}")
            await audit.record_turn(link, request, action, kind=Kind.TASK, name=name, turned=turned, reason=reason)

    await steady(once)
    services.catalogue.forget()
    services.fresh.forget("depths")
    return await _one(services, name)


async def _one(services: Services, name: str) -> Response:
    entry = await services.catalogue.find(name)
    if entry is None:
        raise not_found(f"task {name[:200]!r}")
    return json_response(document(entry))
