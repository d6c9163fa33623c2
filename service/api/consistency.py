"""`/v1/consistency`: whether what is stored obeys its own rules."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from db.consistency import Limits
from service.auth.principal import ANYONE, principal_of
from service.checks.consistency import Check, Report, document, for_tenant
from service.checks.consistency_hints import HintLimits
from service.http.guarded_route import GuardedRoute
from service.http.requests import refuse_unknown
from service.openapi.operations import answers, operation
from service.representation import json_response
from service.services import Services, services_of

router = APIRouter(route_class=GuardedRoute)

LONGEST = timedelta(seconds=10)
"""How old an answer may be."""
_NAME = "consistency"


class FindingDocument(BaseModel):
    """One broken rule: how many things break it, some of them, what it means and what to do."""

    code: str
    severity: Literal["error", "warning"]
    count: int
    examples: list[str]
    message: str
    action: str


class ScheduledDocument(BaseModel):
    """What the leader's last look found: `counts` by code, of PostgreSQL alone."""

    checked_at: datetime
    seconds: float
    worker: str
    clean: bool
    counts: dict[str, int]


class ConsistencyDocument(BaseModel):
    """A check of the deployment; `clean` says that no finding is an error."""

    checked_at: datetime
    clean: bool
    findings: list[FindingDocument]
    checked: list[str]
    looked_at: dict[str, int]
    last_scheduled: ScheduledDocument | None


@router.get(
    "/v1/consistency",
    operation_id="get_consistency",
    summary="Whether what is stored obeys its rules",
    responses=answers(ConsistencyDocument),
    openapi_extra=operation("queues:read"),
)
async def get_consistency(request: Request) -> Response:
    """The checks of `errander fsck`, at most ten seconds old; a process never runs two of them at once.

    Counts are those of the installation; of jobs only one's own are named.
    """
    services = services_of(request)
    refuse_unknown(request)
    report = await _report(services)
    if datetime.now(UTC) - report.checked_at > LONGEST:
        # it was kept for longer, because it was costly; whoever comes while it is made anew waits for that
        services.fresh.forget(_NAME)
        report = await _report(services)
    principal = principal_of(request)
    if principal is not ANYONE:  # where nobody is asked, there is nobody to keep another's ids from
        report = await for_tenant(services.database, report, principal.tenant)
    return json_response(document(report), headers={"Cache-Control": "no-store"})


async def _report(services: Services) -> Report:
    settings = services.settings
    check = Check(
        services.database,
        settings.redis_url.get_secret_value(),
        Limits(lease=settings.lease_seconds),
        HintLimits(settings.hint_window, settings.hint_horizon_seconds),
    )
    return await services.fresh.get(_NAME, check.run)
