"""`/v1/queues`: what stands in each queue, and pausing it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import queues, stats
from db.audit import Action, Kind
from db.engine import Link
from db.lifecycle import Priority
from db.pauses import Turned
from db.queues import Depth, Fleet, Pause, Running
from db.stats import Arrived, Ended
from db.steady import steady
from service import audit
from service.api.documents import QueueDocument, Queues
from service.fields import ReasonBody, read
from service.http.guarded_route import GuardedRoute
from service.http.problems import invalid, not_found
from service.http.requests import action_body_of, refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response, moment_text
from service.services import Services, services_of

router = APIRouter(route_class=GuardedRoute)

_POOL = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}\Z")
DEFAULT_POOL = "default"


def queue_of(name: str) -> tuple[str, str]:
    """Pool and priority of `high` (pool default) or `gpu:high`. Raises Problem `not-found`."""
    pool, colon, priority = name.rpartition(":")
    if not colon:
        pool = DEFAULT_POOL
    if priority not in set(Priority) or not _POOL.fullmatch(pool):
        raise not_found(f"queue {name[:100]!r}")
    return pool, priority


def name_of(pool: str, priority: str) -> str:
    """How a queue is written."""
    return priority if pool == DEFAULT_POOL else f"{pool}:{priority}"


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was read about all queues, at about the same moment."""

    depths: list[Depth]
    running: list[Running]
    fleet: list[Fleet]
    pauses: list[Pause]
    arrived: list[Arrived]
    ended: Ended
    declared: frozenset[str]
    """Pools that tasks declare: their queues are shown before their first job."""


async def look(services: Services) -> Seen:
    """Reads all of it; each part is at most a moment old."""
    link, lease, fresh = services.database.link, services.settings.lease_seconds, services.fresh
    entries = (await services.catalogue.entries()).values()
    depths = await fresh.get("depths", lambda: queues.depths(link, lease))
    running = await fresh.get("running", lambda: queues.running(link))
    ended = await fresh.get("ended", lambda: stats.ended(link))
    arrived = await fresh.get("arrived", lambda: stats.arrived(link))
    return Seen(
        depths=depths,
        running=running,
        fleet=await fresh.get("fleet", lambda: queues.fleet(link, lease)),
        pauses=await queues.pauses(link),
        arrived=stats.held_to_what_is_there(arrived, depths, running, ended),
        ended=ended,
        declared=frozenset(
            str(entry.newest.defaults["pool"]) for entry in entries if entry.newest.defaults.get("pool")
        ),
    )


def documents(seen: Seen) -> list[dict[str, Any]]:
    """Every queue of every pool that anybody named, the pool default first. Pure."""
    parts = (seen.depths, seen.running, seen.fleet, seen.pauses, seen.arrived, seen.ended.finished)
    pools = {row.pool for rows in parts for row in rows} | seen.declared
    ordered = [DEFAULT_POOL, *sorted(pools - {DEFAULT_POOL})]
    return [_document(seen, pool, priority) for pool in ordered for priority in Priority]


def _document(seen: Seen, pool: str, priority: str) -> dict[str, Any]:
    here = (pool, priority)
    waiting = [row for row in seen.depths if (row.pool, row.priority) == here]
    fleet = next((row for row in seen.fleet if (row.pool, row.priority) == here), None)
    paused = next((row for row in seen.pauses if (row.pool, row.priority) == here), None)
    # The depths may be a moment older than the pause: a paused queue has nothing ready.
    ready = [row for row in waiting if not row.held and paused is None]
    finished = sum(row.last_minute for row in seen.ended.finished if (row.pool, row.priority) == here)
    return {
        "queue": name_of(pool, priority),
        "pool": pool,
        "priority": priority,
        "paused": paused is not None,
        "paused_at": moment_text(paused.at) if paused else None,
        "pause_reason": paused.reason if paused else None,
        "ready": sum(row.due for row in ready),
        "scheduled": sum(row.scheduled for row in waiting),
        "held": sum(row.due for row in waiting) - sum(row.due for row in ready),
        "running": sum(row.running for row in seen.running if (row.pool, row.priority) == here),
        "oldest_ready_seconds": max(
            (row.oldest_seconds for row in ready if row.oldest_seconds is not None), default=None
        ),
        "workers": fleet.workers if fleet else 0,
        "slots": fleet.slots if fleet else 0,
        "slots_free": fleet.slots_free if fleet else 0,
        "arrivals_per_second": round(
            sum((row.per_second for row in seen.arrived if (row.pool, row.priority) == here), 0.0), 3
        ),
        "finishes_per_second": round(finished / 60.0, 3),
    }


@router.get(
    "/v1/queues",
    operation_id="list_queues",
    summary="What stands in each queue",
    responses=answers(Queues),
    openapi_extra=operation("queues:read"),
)
async def list_queues(request: Request) -> Response:
    """Figures are at most a second old, on a large deployment somewhat more."""
    refuse_unknown(request)
    seen = await look(services_of(request))
    return json_response({"items": documents(seen)})


@router.post(
    "/v1/queues/{queue}/pause",
    operation_id="pause_queue",
    summary="Start nothing more from a queue",
    responses=answers(QueueDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("queues:manage", body=ReasonBody, required=False, example={"reason": "deploy"}),
)
async def pause_queue(request: Request, queue: str) -> Response:
    """What runs goes on; submits are still accepted. Pausing twice is pausing once."""
    refuse_unknown(request)
    pool, priority = queue_of(queue)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    pause = partial(queues.pause, pool=pool, priority=priority, reason=body.reason)
    await _turn(request, Action.QUEUE_PAUSE, name_of(pool, priority), pause, body.reason)
    return await _one(services_of(request), pool, priority)


@router.post(
    "/v1/queues/{queue}/resume",
    operation_id="resume_queue",
    summary="Start jobs from a queue again",
    responses=answers(QueueDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation("queues:manage", body=ReasonBody, required=False),
)
async def resume_queue(request: Request, queue: str) -> Response:
    """Resuming a queue that is not paused does nothing."""
    services = services_of(request)
    refuse_unknown(request)
    pool, priority = queue_of(queue)
    body = read(ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    resume = partial(queues.resume, pool=pool, priority=priority)
    await _turn(request, Action.QUEUE_RESUME, name_of(pool, priority), resume, body.reason)
    services.fresh.forget("depths")
    return await _one(services, pool, priority)


async def _turn(
    request: Request, action: Action, name: str, step: Callable[[Link], Awaitable[Turned]], reason: str | None
) -> None:
    """Pauses or resumes, and tells it in the audit log, in one transaction."""

    async def once() -> None:
        async with services_of(request).database.begin() as link:
            turned = await step(link)
            await audit.record_turn(link, request, action, kind=Kind.QUEUE, name=name, turned=turned, reason=reason)

    await steady(once)


async def _one(services: Services, pool: str, priority: str) -> Response:
    return json_response(_document(await look(services), pool, priority))
