"""The server's own answers, to what never becomes a request: no HTTP, an endless address, a flood of headers, a client that
falls silent in the middle.

uvicorn answers the first in plain text and takes the others until memory ends. `service.serving` gives it this protocol; a
server that is started in another way (`uvicorn service.main:create_app`) needs a proxy in front that does the same.

Everything that a client sends is either handed on (a head within its limits, a body, which its reader limits) or counted here:
what surrounds the chunks of a body, what is still sent for a request that has its answer, requests that wait for others.
Trailers are read and left out, because no field that is known here may stand in one (RFC 9110, 6.5.1).
"""

import asyncio
import uuid
from http import HTTPStatus
from typing import Final

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.headers import always, unless_said
from service.http.heads import MAX_HEAD, OLD, misframed, too_large, too_long
from service.http.problems import CODES, Problem, response

HEAD_SECONDS: Final = 10.0
"""How long a head may take from its first byte on."""
BODY_SECONDS: Final = 20.0
"""How long a body may come to a halt. A long one may take as long as it comes."""
MAX_DROPPED: Final = 32 * 1024 * 1024
"""Bytes of a body that are still taken, and dropped, after its request was answered: as much as any body has. Many clients
read no answer before they have sent everything.
"""
MAX_PIPELINED: Final = 256
"""Requests of a connection that wait for one before them. After these the connection ends, and the client asks for the others
again on a new one (RFC 9112, 9.3.2).
"""

_STEP: Final = 16 * 1024
"""Bytes that the parser is given at a time, and so how much of a head may come unnoticed together with what was before it."""
_CHUNK_FRAME: Final = 16
"""Bytes that any chunk may have around it: its size in hexadecimal and two line ends take no more."""
_LINGER_SECONDS: Final = 1.0
"""How long what still comes is dropped. Closed at once with input unread, the connection would be reset, and the client
might never read the answer."""


class _Flow(FlowControl):
    """Knows when the client was last asked to go on."""

    asked_at = 0.0
    """By the loop's clock."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._loop = loop

    def resume_reading(self) -> None:
        self.asked_at = self._loop.time()
        super().resume_reading()


class Protocol(HttpToolsProtocol):
    """A connection; what it refuses is answered by a problem document, and then it is closed."""

    url = b""
    """What has come of the address."""
    _unread = 0
    """Bytes that came since the last request ended and were neither a complete head nor a body."""
    _dropped = 0
    """Bytes of the body of a request that had its answer already."""
    _in_head = True
    """Between requests, too."""
    _has_begun = False
    """Whether a request is half here."""
    _refusal: Problem | None = None
    """What the parser is stopped for."""
    _waiting: Problem | None = None
    """What is answered after the requests before it."""
    _is_over = False
    """Whether nothing more is read."""
    _running: RequestResponseCycle | None = None
    """The request that is being handled, or was last; `cycle` is the one that came last, which may wait for this one."""
    flow: _Flow
    _timer: asyncio.TimerHandle | None = None
    """Ends the wait for the rest of a head or body; there while a request is half here."""
    _since = 0.0
    """When the half head began, or something of the half body last came; by the loop's clock."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Waits for the first request as long as for any further one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.loop)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._tell_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless what comes has no end."""
        for start in range(0, len(data), _STEP):
            if self._is_over:
                return
            part = data[start : start + _STEP] if len(data) > _STEP else data
            # the parser keeps an unfinished header to itself, so it is what came that is counted
            self._unread += len(part)
            self._parse(part)
            if self._unread > MAX_HEAD and not self._is_over:
                self._refuse(self._too_much())
        if (self._has_begun or self._unread) and not self._is_over:
            self._await_rest()

    def _parse(self, data: bytes) -> None:
        """As the base does, which also logs what cannot be read: whoever sends that could fill the log."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._is_over:
                self._refuse(self._refusal or Problem("malformed-request", "the request could not be read as HTTP"))
        except httptools.HttpParserUpgrade:
            pass  # whoever asks for another protocol is answered in this one

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MAX_PIPELINED:
            last, app = self.pipeline[0]
            self.pipeline[0] = last, _the_last(last, app)
            self._is_over = True
            raise ValueError("too many requests wait")  # stops the parser
        self._has_begun = True
        self._unread = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete, or a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._refusal = too_long(self.url, self.headers) or misframed(self.headers, self.parser.get_http_version())
        if self._refusal is not None:
            raise ValueError(self._refusal.detail)  # the parser stops, and asks for the answer below
        super().on_headers_complete()
        self._in_head = False
        self._unread = self._dropped = 0
        self._stop_timer()

    def on_body(self, body: bytes) -> None:
        """A part of a body is here."""
        self._unread = max(0, self._unread - len(body))
        if self.cycle.response_complete:
            self._dropped += len(body)
            if self._dropped > MAX_DROPPED:
                self._is_over = True
                self.transport.close()
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """A chunk of a body is complete."""
        self._unread = max(0, self._unread - _CHUNK_FRAME)

    def on_message_complete(self) -> None:
        """A request is complete, body and trailers included."""
        self._in_head = True
        self._has_begun = False
        self._unread = 0
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Reads on when nothing waits any more; answers what was refused, or ends, once all that came before is answered."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.flow.pause_reading()
        elif self._is_over and self.cycle.response_complete:
            if self._waiting is None:
                self._end()
            else:
                self._answer(self._waiting)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, _until_closed(cycle, app) if cycle.scope["http_version"] in OLD else app)

    def _await_rest(self) -> None:
        """Something is half here, and a part of it has just come."""
        if self._timer is None or not self._in_head:
            self._since = self.loop.time()
        if self._timer is None:
            seconds = HEAD_SECONDS if self._in_head else BODY_SECONDS
            self._timer = self.loop.call_later(seconds, self._waited_for_rest)

    def _waited_for_rest(self) -> None:
        self._timer = None
        if self._is_over or self.transport.is_closing():
            return
        seconds = HEAD_SECONDS if self._in_head else BODY_SECONDS
        left = max(self._since, self.flow.asked_at) + seconds - self.loop.time()
        if self.flow.read_paused or (not self._in_head and self.cycle.waiting_for_100_continue):
            left = seconds  # it is not the client who lets us wait
        if left > 0:
            self._timer = self.loop.call_later(left, self._waited_for_rest)
        else:
            what = "the head of the request was" if self._in_head else "nothing more came of the body, which is"
            self._refuse(Problem("request-timeout", f"{what} not complete after {seconds:g} seconds"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_much(self) -> Problem:
        if self._in_head:
            return too_long(self.url, self.headers) or too_large()
        return Problem(
            "headers-too-large", f"trailers, and what stands around the chunks of a body, have at most {MAX_HEAD} bytes"
        )

    def _refuse(self, problem: Problem) -> None:
        self._is_over = True
        self._stop_timer()
        cycle = self.cycle
        if self._in_head:
            if cycle is None or cycle.response_complete:
                self._answer(problem)
            else:
                self._waiting = problem
            return
        # It is the body of a request that is being handled, was, or waits: to whoever handles one, its client is gone.
        is_first = not self.pipeline
        self._tell_gone()
        if is_first and not cycle.response_started:
            self._answer(problem)
        else:
            self.transport.close()

    def _tell_gone(self) -> None:
        """Nobody reads an answer any more: whoever handles a request learns it, and those that wait never begin."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

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
        self._end()

    def _end(self) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _the_last(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """`app` for a request after which the connection ends, in order and not at once, as uvicorn would end it."""

    async def answering(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def closing(message: ASGISendEvent) -> None:
            cycle.keep_alive = message["type"] != "http.response.start"  # only the head says that the connection ends
            await send(message)
            cycle.keep_alive = True

        await app(scope, receive, closing)

    return answering


def _until_closed(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """`app` for a client that knows no chunks (RFC 9112, 6.1): an answer without a length lasts until the connection ends,
    as all connections of such clients do after an answer.
    """

    async def answering(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        is_endless = False

        async def unchunked(message: ASGISendEvent) -> None:
            nonlocal is_endless
            if message["type"] == "http.response.start":
                is_endless = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                if is_endless:
                    cycle.chunked_encoding = False
            elif is_endless and message["type"] == "http.response.body":
                cycle.expected_content_length = len(message.get("body", b""))  # what uvicorn compares each part with
            await send(message)

        await app(scope, receive, unchunked)

    return answering
