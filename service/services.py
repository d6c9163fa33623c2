"""What the routes of one process share, and how a route gets at it."""

from dataclasses import dataclass

from starlette.requests import Request

from db.engine import Database
from service.catalogue import Catalogue
from service.fresh import Fresh
from service.settings import ApiSettings
from service.waiting import Waiting
from workers.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Services:
    """Opened by the application's lifespan and closed by it."""

    settings: ApiSettings
    database: Database
    publisher: Publisher
    waiting: Waiting
    catalogue: Catalogue
    fresh: Fresh


def services_of(request: Request) -> Services:
    """The services of the application that serves this request."""
    found: Services = request.app.state.services
    return found
