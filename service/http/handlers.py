"""From exceptions to problem documents. With `service.http.problems.CODES` this is all the mapping there is."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from db.errors import BadRow, DatabaseError, Locked, SchemaBehind, SettingsError, Unavailable
from db.reading import TooSlow
from service.http.addresses import methods_of
from service.http.middleware import instance_of
from service.http.problems import FieldError, Problem, invalid, response, unavailable
from service.services import services_of

_log = structlog.get_logger("errander.api")


def install(app: FastAPI) -> None:
    """Adds every handler to `app`."""
    app.add_exception_handler(Problem, _answering(_as_it_is))
    app.add_exception_handler(DatabaseError, _answering(_database))
    app.add_exception_handler(HTTPException, _answering(_routing))
    app.add_exception_handler(RequestValidationError, _answering(_declared))
    app.add_exception_handler(ClientDisconnect, _answering(_gone))


def _answering(
    problem_of: Callable[[Request, Any], Problem],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        return response(problem_of(request, error), instance_of(request.scope))

    return handler


def _as_it_is(_request: Request, problem: Problem) -> Problem:
    return problem


def _gone(_request: Request, _error: ClientDisconnect) -> Problem:
    # Nobody reads this answer; it only ends the request in order.
    return Problem("malformed-json", "the body ended early")


def _database(request: Request, error: DatabaseError) -> Problem:
    if isinstance(error, BadRow):
        return invalid([FieldError("", f"cannot be stored or compared: {error}", "not-storable")])
    if isinstance(error, TooSlow):
        return invalid(
            [FieldError("", "the query looks at too much; narrow it, for example by created_after", "too-wide")]
        )
    if isinstance(error, SchemaBehind):
        return unavailable(
            "the schema of the database is older than this version: run `errander migrate`", retry_after=5
        )
    if isinstance(error, Locked):
        return unavailable("the rows are locked by another request")
    if isinstance(error, Unavailable | SettingsError):
        _log.warning("database.unavailable", path=request.url.path, error=str(error))
        return unavailable("PostgreSQL cannot be reached, or did not answer in time", retry_after=2)
    raise error


def _routing(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 405:
        allowed = ", ".join(sorted(methods_of(request, services_of(request).methods)))
        return Problem(
            "method-not-allowed", f"{request.method} is not possible here, but {allowed}", headers={"Allow": allowed}
        )
    if error.status_code == 404:
        return Problem("not-found", f"there is nothing at {request.url.path[:200]}")
    if error.status_code == 413:
        return Problem("payload-too-large", "the body is too large")
    raise error


def _declared(_request: Request, error: RequestValidationError) -> Problem:
    """A parameter that FastAPI itself checks: its refusal has the form of all others."""
    return invalid(
        [
            FieldError(str(item["loc"][-1]), str(item["msg"]), str(item["type"]).replace("_", "-"))
            for item in error.errors()
        ]
    )
