"""The server's own answers, to what never becomes a request: no HTTP, an endless address, a flood of headers.

uvicorn answers the first in plain text and takes the others until memory ends. `service.serving` gives it this protocol; a
server that is started in another way (`uvicorn service.main:create_app`) needs a proxy in front that does the same.
"""

import uuid
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.headers import always, unless_said
from service.http.problems import CODES, Problem, response

MAX_TARGET: Final = 16 * 1024
"""Bytes of path and query: 200 ids, or ten filters of 1,000 characters, fit."""
MAX_HEAD: Final = 32 * 1024
"""Bytes of the first line and all headers, as much as common proxies pass on."""
MAX_HEADERS: Final = 100
"""Headers of one request."""

_LINGER_SECONDS: Final = 1.0
"""How long what still comes is dropped. Closed at once with input unread, the connection would be reset, and the client
might never read the answer."""


class Protocol(HttpToolsProtocol):
    """A connection; what it refuses is answered by a problem document, and then it is closed."""

    url = b""
    """What has come of the address."""
    _unread = 0
    """Bytes that came since a head was last complete, or the body that followed it."""
    _in_head = True
    _refusal: Problem | None = None
    """What the parser is stopped for."""
    _waiting: Problem | None = None
    """What is answered after the requests before it."""
    _is_over = False

    def data_received(self, data: bytes) -> None:
        """Reads on, unless a head has no end."""
        if self._is_over:
            return
        super().data_received(data)
        if self._in_head and not self._is_over:
            # the parser keeps an unfinished header to itself, so it is what came that is counted
            self._unread += len(data)
            if self._unread > MAX_HEAD:
                self._refuse(self._why_not() or _too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._unread = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._refusal = self._why_not()
        if self._refusal is not None:
            raise ValueError(self._refusal.detail)  # the parser stops, and asks for the answer below
        self._in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Answers what was refused, once all that came before it is answered."""
        super().on_response_complete()
        if self._waiting is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._answer(self._waiting)

    def _unsupported_upgrade_warning(self) -> None:
        """Says nothing: whoever asks for another protocol is answered in this one, and could fill the log."""

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser stopped at; `msg` says no more than that it did."""
        self._refuse(self._refusal or Problem("malformed-request", msg.removesuffix(".").lower()))

    def _why_not(self) -> Problem | None:
        if len(self.url) > MAX_TARGET:
            return Problem(
                "uri-too-long", f"path and query have {len(self.url)} bytes, and at most {MAX_TARGET} are read"
            )
        if self.headers is None or len(self.headers) > MAX_HEADERS:
            return _too_large()
        return _too_large() if sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD else None

    def _refuse(self, problem: Problem) -> None:
        self._is_over = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(problem)
        elif self._in_head or not cycle.more_body:
            self._waiting = problem
        else:  # it is the body of a request that is being handled: to it, its client is gone
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
            else:
                self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        self._waiting = None
        request_id = uuid.uuid4().hex
        answer = response(problem, f"urn:request:{request_id}")
        status = CODES[problem.code].status
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            *always(),
            *unless_said((), self.scheme or "http"),
            (b"connection", b"close"),
        ]
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(head + lines + b"\r\n" + bytes(answer.body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _too_large() -> Problem:
    return Problem(
        "headers-too-large",
        f"the head of a request has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers",
    )
