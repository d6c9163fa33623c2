"""`/v1/stats`: the whole deployment in one answer."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import stats, workers
from service.api.documents import StatsDocument
from service.api.queues import Seen, documents, look
from service.catalogue import Entry
from service.http.guarded_route import GuardedRoute
from service.http.requests import refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)


@router.get(
    "/v1/stats",
    operation_id="get_stats",
    summary="Figures of the whole deployment",
    responses=answers(StatsDocument),
    openapi_extra=operation("queues:read"),
)
async def get_stats(request: Request) -> Response:
    """At most a second old, on a large deployment somewhat more; see the documentation for what is estimated."""
    services = services_of(request)
    refuse_unknown(request)
    link, fresh = services.database.link, services.fresh
    living = await fresh.get("workers", lambda: workers.list_workers(link))
    seen = await look(services)
    counts = await fresh.get("counts", lambda: stats.counts(link, seen.ended, seen.depths))
    latencies = seen.ended.latencies
    return json_response(
        {
            "at": moment_text(datetime.now(UTC)),
            "jobs": {status.value: number for status, number in counts.jobs.items()},
            "jobs_estimated": counts.estimated,
            "queues": {document["queue"]: document for document in documents(seen)},
            "tasks": by_task(seen, await services.catalogue.entries()),
            "last_5_minutes": {
                "submitted": sum(row.last_5_minutes for row in seen.arrived),
                "succeeded": sum(row.succeeded for row in seen.ended.finished),
                "failed": sum(row.failed for row in seen.ended.finished),
                "wait_p50": latencies.wait_p50,
                "wait_p95": latencies.wait_p95,
                "run_p50": latencies.run_p50,
                "run_p95": latencies.run_p95,
            },
            "workers": len(living),
        }
    )


def by_task(seen: Seen, entries: dict[str, Entry]) -> dict[str, dict[str, Any]]:
    """Figures of every task that is known or has jobs. `succeeded` and `failed` are of the last five minutes. Pure."""
    names = set(entries)
    names |= {row.task for row in seen.depths}
    names |= {row.task for row in seen.running}
    names |= {row.task for row in seen.ended.finished}
    found = {}
    for name in sorted(names):
        waiting = [row for row in seen.depths if row.task == name]
        ended = [row for row in seen.ended.finished if row.task == name]
        entry = entries.get(name)
        found[name] = {
            "ready": sum(row.due for row in waiting if not row.held),
            "scheduled": sum(row.scheduled for row in waiting),
            "held": sum(row.due for row in waiting if row.held),
            "running": sum(row.running for row in seen.running if row.task == name),
            "succeeded": sum(row.succeeded for row in ended),
            "failed": sum(row.failed for row in ended),
            "live": entry.live if entry else 0,
            "paused": entry is not None and entry.known[0].paused_at is not None,
        }
    return found
