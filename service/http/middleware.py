"""What every answer has in common: a request id, the headers of `service.http.headers`, and a problem document for whatever went
wrong. HEAD is answered as GET is, without the body.

A plain ASGI layer, outermost of ours: it sees what no handler caught, and answers streams without buffering them.
"""

import re
import time
import uuid
from collections.abc import Collection

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.cross_origin import SAFE, asked, is_forged
from service.http.headers import COLLECTED, always, unless_said
from service.http.hosts import refuse_stranger
from service.http.problems import Problem, response

_log = structlog.get_logger("errander.api")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_PROBLEM = "errander.problem"


def instance_of(scope: Scope) -> str:
    """How a problem document names this request: with it, the request is found in the log."""
    return f"urn:request:{scope.get('errander.request_id', '-')}"


class Frame:
    """Wraps the application; scripts of `origins` may use it from other sites. It is asked by local names and `hosts`; None:
    by any.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = (), hosts: tuple[str, ...] | None = None) -> None:
        self._origins = frozenset(origins)
        self._hosts = hosts
        self._app = asked(app, origins)
        self._refused = asked(_refused, origins)
        self._always = always()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or uuid.uuid4().hex
        scope["errander.request_id"] = request_id
        method = scope["method"]
        if method == "HEAD":
            scope, receive, send = _bodiless(scope, receive, send)
        started = time.monotonic()
        status = 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = message.get("headers", ())
                message["headers"] = [
                    *own,
                    (b"x-request-id", request_id.encode()),
                    *self._always,
                    *unless_said({name for name, _ in own}, scope["scheme"]),
                    *scope.get(COLLECTED, ()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if self._hosts is not None:
                    refuse_stranger(scope["headers"], self._hosts)
                if method not in SAFE:
                    self._refuse_forged(scope)
                await self._app(scope, receive, framed)
            except Exception as error:
                # A problem that comes this far is of a layer around the application, whose handlers did not see it.
                problem = error if isinstance(error, Problem) else None
                if problem is None:
                    _log.exception("request.failed", method=method, path=scope["path"])
                if status:
                    raise  # the answer has begun: all that is left is to break it off
                await self._answer(problem or _failure(), scope, receive, framed)
            _log.debug(
                "request.answered",
                method=method,
                path=scope["path"],
                status=status,
                seconds=round(time.monotonic() - started, 6),
            )

    def _refuse_forged(self, scope: Scope) -> None:
        if is_forged(scope["headers"], self._origins):
            raise Problem("forbidden", "a page of another origin sent this, and its origin is not allowed here")

    async def _answer(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_PROBLEM] = problem
        # A refused preflight is answered as it is; asking about it again would refuse it again.
        answering = _refused if scope["method"] == "OPTIONS" else self._refused
        await answering(scope, receive, send)


def _failure() -> Problem:
    return Problem("internal", "the server failed; `instance` finds the failure in its log")


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    await response(scope[_PROBLEM], instance_of(scope))(scope, receive, send)


def _bodiless(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """A HEAD as the GET that it stands for (RFC 9110, 9.3.2): its headers are sent, its body is not.

    Once they are sent the client counts as gone, so that a stream ends instead of going on for nobody.
    """
    has_ended = False

    async def only_headers(message: Message) -> None:
        nonlocal has_ended
        if message["type"] == "http.response.start":
            has_ended = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def until_answered() -> Message:
        return {"type": "http.disconnect"} if has_ended else await receive()

    return {**scope, "method": "GET"}, until_answered, only_headers


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _REQUEST_ID.match(text) else None
    return None
