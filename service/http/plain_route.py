"""Guarded routes whose function takes the request and returns the answer, as the hot ones do.

FastAPI describes such a route in the OpenAPI document like any other. When it is called, nothing but the guard stands between
the router and the function: no dependency is solved and no clean-up is prepared, because there is neither. That is an eighth
of what a small submit costs.
"""

import inspect
from functools import cached_property

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.http.guarded_route import GuardedRoute


class PlainRoute(GuardedRoute):
    """The class of the routes of a router: `APIRouter(route_class=PlainRoute)`.

    A function that takes anything but `request` is called by FastAPI as usual.
    """

    @cached_property
    def is_plain(self) -> bool:
        """Whether the function is called directly."""
        return list(inspect.signature(self.endpoint).parameters) == ["request"]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; what the function raises is answered by the application's handlers."""
        if not self.is_plain or scope["method"] not in (self.methods or ()):
            await super().answer(scope, receive, send)
            return
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def refuse_dependencies(app: FastAPI) -> None:
    """Raises RuntimeError if a dependency was put on a plain route, from wherever: it would be left out unnoticed."""
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        if isinstance(route, PlainRoute) and route.is_plain and found.dependant.dependencies:
            raise RuntimeError(f"{found.path}: a plain route has no dependencies; check inside its function")
