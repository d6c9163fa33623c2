"""The API with two more routes that do nothing: what a request costs that is read, checked and answered, and no more.
`python -m tests.benchmarks.noop PORT` serves it exactly as `errander api` serves the product.

Bodies are read and validated by what reads and validates the body of a submit; the answer is a small fixed document.
`NOOP` is an ordinary route of FastAPI. `FLOOR` is one of the kind that the hot routes are, with nothing between the
router and the function: less than that no request of this application can cost.
"""

import sys
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

import service.main
from service import serving
from service.fields import read
from service.http.plain_route import PlainRoute
from service.http.problems import invalid
from service.http.requests import body_of
from service.openapi.operations import operation
from service.representation import json_response
from service.settings import load
from service.submit.submission import SubmitBody

NOOP: Final = "/bench/noop"
FLOOR: Final = "/bench/floor"


_ordinary = APIRouter()
_plain = APIRouter(route_class=PlainRoute)


@_ordinary.post(NOOP, status_code=202)
@_plain.post(FLOOR, status_code=202, openapi_extra=operation(None))
async def nothing(request: Request) -> Response:
    """Reads, checks, answers."""
    body = read(SubmitBody, await body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    return json_response({"task": body.task, "status": "PENDING"}, 202, {"Location": NOOP})


def create_app() -> FastAPI:
    """The product's application and the routes, which are looked at before all others: their way is the shortest."""
    app = service.main.create_app()
    for router in (_ordinary, _plain):
        app.include_router(router)
        app.router.routes.insert(0, app.router.routes.pop())
    return app


def main() -> None:
    """Serves on the port given, with every option that `errander api` sets."""
    serving.APPLICATION = f"{__spec__.name}:create_app" if __spec__ else "tests.benchmarks.noop:create_app"
    serving.serve(load(), host="127.0.0.1", port=int(sys.argv[1]), processes=1)


if __name__ == "__main__":
    main()
