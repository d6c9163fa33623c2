"""What every answer has in common: a request id, the server's version, and a problem document for whatever went wrong.

A plain ASGI layer, outermost of ours: it sees what no handler caught, and answers streams without buffering them.
"""

import re
import time
import uuid
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import Problem, response
from service.version import server_version

_log = structlog.get_logger("errander.api")
HEADERS: Final = "errander.headers"
"""Where a request collects headers that its answer has, whatever the answer is: a list of pairs of bytes."""
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def instance_of(scope: Scope) -> str:
    """How a problem document names this request: with it, the request is found in the log."""
    return f"urn:request:{scope.get('errander.request_id', '-')}"


class Frame:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._version = server_version().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or uuid.uuid4().hex
        scope["errander.request_id"] = request_id
        started = time.monotonic()
        status = 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"errander-version", self._version),
                    (b"x-content-type-options", b"nosniff"),
                    *scope.get(HEADERS, ()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, framed)
            except Exception:
                _log.exception("request.failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # the answer has begun: all that is left is to break it off
                problem = Problem("internal", "the server failed; `instance` finds the failure in its log")
                await response(problem, instance_of(scope))(scope, receive, framed)
            _log.debug(
                "request.answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(time.monotonic() - started, 6),
            )


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _REQUEST_ID.match(text) else None
    return None
