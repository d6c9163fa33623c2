"""Long answers to reads are compressed where the client takes gzip.

Only reads: a submit is answered in less than a packet or two, and an answer that holds a secret (a new key) is never
compressed together with what the client sent, so its length tells nothing about the secret (BREACH). Streams of events are
left alone, and so is everything below a kilobyte, which compression would hardly make smaller than one packet.
"""

import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST: Final = 1024
"""Bytes; what is shorter is sent as it is."""
_LEVEL: Final = 5
"""Of zlib: a page of 200 jobs takes a millisecond, and level 9 takes thrice that for a few percent."""

# A name, or `*` for all that are not named, and its weight; of zero it is refused (RFC 9110, 12.5.3).
_NAMED: Final = re.compile(rb"(?:^|[\s,])(gzip|\*)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?(?=$|,)", re.IGNORECASE)
_VARY: Final = "Accept-Encoding"


class Compression:
    """Wraps the application; only GET goes through the compressor, and all that answers it says `Vary: Accept-Encoding`: what
    is short today, or not changed (304), is the same thing as what was compressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, minimum_size=LEAST, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return

        async def varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if _VARY not in headers.getlist("vary"):  # the compressor says it only of what it looked at
                    headers.add_vary_header(_VARY)
            await send(message)

        await self._compressing(_plainly_said(scope), receive, varying)


def _plainly_said(scope: Scope) -> Scope:
    """`scope` with an `Accept-Encoding` that is `gzip` or nothing: the compressor looks for the word alone."""
    given = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    if given in ([], [b"gzip"]):
        return scope
    others = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
    taken = _takes_gzip(b", ".join(given))
    # kept in place: what the request collects for its answer lies in this very scope
    scope["headers"] = [*others, (b"accept-encoding", b"gzip")] if taken else others
    return scope


def _takes_gzip(accepted: bytes) -> bool:
    weights = {name.lower(): float(weight or b"1") for name, weight in _NAMED.findall(accepted)}
    return weights.get(b"gzip", weights.get(b"*", 0.0)) > 0
