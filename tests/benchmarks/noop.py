"""The API with one more route, `POST /bench/noop`: what a request costs that is read, checked and answered, and nothing
else. `python -m tests.benchmarks.noop PORT` serves it exactly as `errander api` serves the product.

Its body is read and validated by what reads and validates the body of a submit, it is a route of the same kind, and its
answer is a small fixed document.
"""

import sys
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

import service.main
from service import serving
from service.fields import read
from service.plain_route import PlainRoute
from service.problems import invalid
from service.representation import json_response
from service.requests import body_of
from service.settings import load
from service.submission import SubmitBody

PATH: Final = "/bench/noop"


router = APIRouter(route_class=PlainRoute)


@router.post(PATH, status_code=202)
async def noop(request: Request) -> Response:
    """Reads, checks, answers."""
    body = read(SubmitBody, await body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    return json_response({"task": body.task, "status": "PENDING"}, 202, {"Location": PATH})


def create_app() -> FastAPI:
    """The product's application and the route, which is looked at before all others: its way is the shortest there is."""
    app = service.main.create_app()
    app.include_router(router)
    app.router.routes.insert(0, app.router.routes.pop())
    return app


def main() -> None:
    """Serves on the port given, with every option that `errander api` sets."""
    serving.APPLICATION = f"{__spec__.name}:create_app" if __spec__ else "tests.benchmarks.noop:create_app"
    serving.serve(load(), host="127.0.0.1", port=int(sys.argv[1]), processes=1)


if __name__ == "__main__":
    main()
