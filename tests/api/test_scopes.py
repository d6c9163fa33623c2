"""Every route says who may use it."""

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import Response

from service.auth.scopes import ROLES, Scope, expanded, known
from service.http.guarded_route import GuardedRoute, refuse_undeclared

OPEN = {
    "/",
    "/healthz",
    "/readyz",
    "/v1/version",
    "/openapi.json",
    "/problems/{code}",
    "/docs",
    "/docs/{name}",
}
"""All that may be used without a credential."""


async def nothing() -> Response:
    return Response(b"")


def test_every_route_declares_a_scope_and_only_these_are_open(app: FastAPI) -> None:
    """Deny by default: a new route is guarded, or is added to the list above on purpose."""
    seen = set()
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        assert isinstance(route, GuardedRoute), found.path
        assert route.is_declared, found.path
        if route.is_open:
            seen.add(found.path)
        elif found.path != "/v1/auth/token":
            assert isinstance(route.needed, Scope), found.path
    assert seen == OPEN


@pytest.mark.parametrize("route_class", [GuardedRoute, APIRoute])
def test_a_route_without_a_declaration_stops_the_application(route_class: type[APIRoute]) -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter(route_class=route_class)
    router.add_api_route("/v1/forgotten", nothing)
    app.include_router(router)
    with pytest.raises(RuntimeError, match="/v1/forgotten: the route declares no scope"):
        refuse_undeclared(app)


def test_roles_stand_for_scopes_and_unknown_names_are_named() -> None:
    assert expanded(["submitter", "audit:read"]) == {Scope.JOBS_SUBMIT, Scope.JOBS_READ, Scope.AUDIT_READ}
    assert expanded(["admin"]) == frozenset(Scope)
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["admin"]
    with pytest.raises(ValueError, match="'jobs:everything' is no scope or role"):
        expanded(["jobs:everything"])
    assert known(["openid", "jobs:read", "profile"]) == {Scope.JOBS_READ}
