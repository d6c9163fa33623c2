"""`/v1/workers`: who is there, and asking one to drain."""

import json
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import workers
from db.audit import Action, Kind
from db.steady import steady
from db.workers import Drain
from service import audit
from service.api.documents import WorkerDocument, Workers
from service.fields import ReasonBody, read
from service.http.guarded_route import GuardedRoute
from service.http.problems import invalid, not_found
from service.http.requests import action_body_of, id_of, refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)


def document(row: Any) -> dict[str, Any]:
    """A worker as clients see it."""
    return {
        "id": str(row["id"]),
        "pool": row["pool"],
        "priorities": list(row["priorities"]),
        "tasks": sorted(json.loads(row["tasks"])),
        "host": row["host"],
        "pid": row["pid"],
        "version": row["version"],
        "slots": row["slots"],
        "running": row["running"],
        "started_at": moment_text(row["started_at"]),
        "last_beat_at": moment_text(row["beat_at"]),
        "draining": row["drain_requested_at"] is not None,
        "metrics_port": row["metrics_port"],
        "info": json.loads(row["info"]),
    }


@router.get(
    "/v1/workers",
    operation_id="list_workers",
    summary="Living workers",
    responses=answers(Workers),
    openapi_extra=operation("workers:read"),
)
async def list_workers(request: Request) -> Response:
    """Oldest first; a worker that fell silent is listed until the reaper has seen it."""
    refuse_unknown(request)
    rows = await workers.list_workers(services_of(request).database.link)
    return json_response({"items": [document(row) for row in rows]})


@router.post(
    "/v1/workers/{worker}/drain",
    operation_id="drain_worker",
    summary="Ask a worker to drain and end",
    responses=answers(WorkerDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("workers:manage", body=ReasonBody, required=False),
)
async def drain_worker(request: Request, worker: str) -> Response:
    """The worker reads this with its next beat: it takes nothing more, finishes or gives back, and ends."""
    link = services_of(request).database.link
    refuse_unknown(request)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    worker_id = id_of(worker)
    if worker_id is None:
        raise not_found(f"worker {worker[:100]!r}")
    await steady(lambda: _ask_to_drain(request, worker_id, body.reason))
    rows = await workers.list_workers(link, worker_id)
    if not rows:  # it ended between the two statements
        raise not_found(f"worker {worker_id}")
    return json_response(document(rows[0]))


async def _ask_to_drain(request: Request, worker_id: UUID, reason: str | None) -> None:
    """Asks, and tells it in the audit log, in one transaction. Raises Problem `not-found`."""
    async with services_of(request).database.begin() as link:
        asked = await workers.request_drain(link, worker_id)
        if asked is None:
            raise not_found(f"worker {worker_id}")
        if asked is Drain.ASKED:
            await audit.record(
                *(link, request, Action.WORKER_DRAIN, Kind.WORKER, str(worker_id)),
                before={"draining": False},
                after={"draining": True},
                reason=reason,
            )
