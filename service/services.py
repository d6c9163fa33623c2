"""What the routes of one process share, and how a route gets at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # much of what is shared reads requests, and whoever reads a request asks for what is shared
    from starlette.requests import HTTPConnection
    from starlette.types import Scope

    from db.engine import Database
    from service.auth.guard import Guard
    from service.catalogue import Catalogue
    from service.fresh import Fresh
    from service.http.addresses import Table
    from service.limits.queued import QueueLimit
    from service.limits.rate_limits import RateLimits
    from service.live.hub import Live
    from service.settings import ApiSettings
    from service.submit.accepting import Accepting
    from service.submit.batches import Batches
    from service.waiting import Waiting
    from workers.publisher import Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Opened by the application's lifespan and closed by it."""

    settings: ApiSettings
    database: Database
    publisher: Publisher
    waiting: Waiting
    catalogue: Catalogue
    fresh: Fresh
    limits: RateLimits
    queued: QueueLimit
    guard: Guard
    accepting: Accepting
    batches: Batches
    live: Live
    methods: Table


def services_of(request: HTTPConnection) -> Services:
    """The services of the application that serves this request."""
    return services_in(request.scope)


def services_in(scope: Scope) -> Services:
    """The same, by the ASGI scope of the request."""
    found: Services = scope["app"].state.services
    return found
