"""Routes that nobody reaches without being let in.

What a route asks for stands in its declaration (`service.openapi.document.operation`), where the description of the API has it too.
A route that declares nothing stops the application from starting.
"""

from functools import cached_property
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import Receive, Scope, Send

from service.auth.scopes import Scope as Needed
from service.http.deprecation import notice_of
from service.http.headers import COLLECTED, Pair
from service.services import services_in

SECURITY: Final = "security"
"""Where a declaration says it, in the words of OpenAPI: `[]` lets everybody in."""
SCHEME: Final = "bearer"
"""The one security scheme there is."""


class GuardedRoute(APIRoute):
    """The class of the routes of every router: `APIRouter(route_class=GuardedRoute)`."""

    @cached_property
    def is_declared(self) -> bool:
        """Whether the route says who may use it."""
        return SECURITY in (self.openapi_extra or {})

    @cached_property
    def is_open(self) -> bool:
        """Whether everybody may use it."""
        return self.is_declared and not (self.openapi_extra or {})[SECURITY]

    @cached_property
    def needed(self) -> Needed | None:
        """The scope that is needed; None: none, but a credential."""
        declared: list[dict[str, Any]] = (self.openapi_extra or {})[SECURITY]
        names = declared[0][SCHEME]
        return Needed(names[0]) if names else None

    @cached_property
    def notice(self) -> tuple[Pair, ...]:
        """Headers that say that the route is deprecated, and when it ends."""
        return notice_of(self.openapi_extra or {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets in whoever may, and answers. Raises Problem for everybody else."""
        if self.notice:
            scope.setdefault(COLLECTED, []).extend(self.notice)
        if not self.is_open and scope["method"] in (self.methods or ()):
            await services_in(scope).guard.admit(scope, self.needed)
        await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers whoever has been let in."""
        await super().handle(scope, receive, send)


def refuse_undeclared(app: FastAPI) -> None:
    """Raises RuntimeError if a route does not say who may use it: it would be open to everybody."""
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        if not isinstance(route, GuardedRoute) or not route.is_declared:
            raise RuntimeError(f"{found.path}: the route declares no scope; see service.openapi.document.operation")
