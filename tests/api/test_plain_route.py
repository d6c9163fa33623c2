"""Routes that are called without anything in between."""

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response

from service.http.plain_route import PlainRoute, refuse_dependencies
from service.openapi.operations import operation
from tests.api.problems import problem


async def refusing() -> None:
    raise AssertionError("a dependency")


def router_with(*, dependencies: bool) -> APIRouter:
    router = APIRouter(route_class=PlainRoute)

    @router.post("/plain", dependencies=[Depends(refusing)] if dependencies else [], openapi_extra=operation(None))
    async def plain(request: Request) -> Response:
        return Response(await request.body(), 202)

    @router.get("/things/{name}", openapi_extra=operation(None))
    async def thing(name: str) -> dict[str, str]:
        return {"name": name}

    return router


async def test_it_is_called_and_described_like_any_other() -> None:
    app = FastAPI()
    app.include_router(router_with(dependencies=False), prefix="/v1")
    refuse_dependencies(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/v1/plain", content=b"x")
        assert (answer.status_code, answer.content) == (202, b"x")
        assert (await client.get("/v1/plain")).status_code == 405
        assert (await client.get("/v1/things/a")).json() == {"name": "a"}
    assert set(app.openapi()["paths"]) == {"/v1/plain", "/v1/things/{name}"}


@pytest.mark.parametrize("place", ["route", "router", "application"])
def test_a_dependency_that_would_be_left_out_stops_the_application(place: str) -> None:
    app = FastAPI(dependencies=[Depends(refusing)] if place == "application" else [])
    app.include_router(
        router_with(dependencies=place == "route"), dependencies=[Depends(refusing)] if place == "router" else []
    )
    with pytest.raises(RuntimeError, match="/plain: a plain route has no dependencies"):
        refuse_dependencies(app)


async def test_the_application_itself_refuses_to_start_with_one(app: FastAPI) -> None:
    app.include_router(router_with(dependencies=True))
    with pytest.raises(RuntimeError, match="a plain route has no dependencies"):
        async with app.router.lifespan_context(app):
            pass


async def test_submit_is_plain_and_still_answers_in_problems(app: FastAPI, api: httpx.AsyncClient) -> None:
    plain = {
        route.path
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, PlainRoute) and route.original_route.is_plain
    }
    assert plain == {"/v1/jobs", "/v1/jobs/batch"}
    problem(await api.post("/v1/jobs", content=b"{"), "unsupported-media-type", 415)
    problem(await api.put("/v1/jobs"), "method-not-allowed", 405)
    assert "post" in app.openapi()["paths"]["/v1/jobs"]
