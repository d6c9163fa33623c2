"""`/v1/jobs/{id}/explain`: why a job is not running."""

import asyncio
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from db import jobs, standing, stats
from db.lifecycle import JobStatus
from db.records import JobRecord
from service.api.documents import Status
from service.api.queues import name_of
from service.auth.principal import principal_of
from service.explain import Facts, explanation
from service.http.guarded_route import GuardedRoute
from service.http.problems import not_found
from service.http.requests import JobId, refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response
from service.services import Services, services_of

router = APIRouter(route_class=GuardedRoute)

PING_SECONDS = 1.0
"""How long Redis may take to say that it is there."""


class ReasonDocument(BaseModel):
    """One reason, with fields of its own for each code."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str


class StartDocument(BaseModel):
    """When the job starts, with a chance of a half and of nine tenths."""

    p50: datetime
    p90: datetime


class ExplanationDocument(BaseModel):
    """Why a job is not running, or how it stands."""

    job_id: str
    status: Status
    running: bool
    summary: str
    reasons: list[ReasonDocument]
    position: int | None
    position_exact: bool
    drain_per_second: float | None
    estimated_start: StartDocument | None
    at: datetime


@router.get(
    "/v1/jobs/{job_id}/explain",
    operation_id="explain_job",
    summary="Why a job is not running",
    responses=answers(ExplanationDocument),
    openapi_extra=operation("jobs:read"),
)
async def explain_job(request: Request, job_id: JobId) -> Response:
    """Reasons in words and fields, the most important first; its place in the queue and when it may start."""
    services = services_of(request)
    refuse_unknown(request)
    job = await jobs.get(services.database.link, principal_of(request).tenant, job_id)
    if job is None:
        raise not_found(f"job {job_id}")
    document: dict[str, Any] = explanation(await _facts(services, job))
    return json_response(document)


async def _facts(services: Services, job: JobRecord) -> Facts:
    link, lease = services.database.link, services.settings.lease_seconds
    holds = await standing.holds(link, job.pool, job.priority, job.task)
    waits = not job.is_final and job.status != JobStatus.RUNNING
    return Facts(
        job,
        name_of(job.pool, job.priority),
        holds,
        servers=await standing.servers(link, job.task, lease) if waits else (),
        before=await standing.before(link, job, lease) if waits else 0,
        drain_per_second=await _drain(services, job) if waits else None,
        redis_away=waits and await _is_redis_away(services),
    )


async def _drain(services: Services, job: JobRecord) -> float:
    ended = await services.fresh.get("ended", lambda: stats.ended(services.database.link))
    here = [row.last_minute for row in ended.finished if (row.pool, row.priority) == (job.pool, job.priority)]
    return round(sum(here) / 60.0, 3)


async def _is_redis_away(services: Services) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await services.waiting.ping()
    except (RedisError, OSError, TimeoutError):
        return True
    return False
