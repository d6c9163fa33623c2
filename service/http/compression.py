"""Long answers to reads are compressed where the client takes gzip.

Only reads: a submit is answered in less than a packet or two, and an answer that holds a secret (a new key) is never
compressed together with what the client sent, so its length tells nothing about the secret (BREACH). Streams of events are
left alone, and so is everything below a kilobyte, which compression would hardly make smaller than one packet.
"""

import re
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

LEAST: Final = 1024
"""Bytes; what is shorter is sent as it is."""
_LEVEL: Final = 5
"""Of zlib: a page of 200 jobs takes a millisecond, and level 9 takes thrice that for a few percent."""

# With a weight of zero it is refused (RFC 9110, 12.5.3).
_TAKEN: Final = re.compile(rb"(?:^|[\s,])(?:gzip|\*)\s*(?:$|,|;\s*q=(?:1|0\.0{0,2}[1-9]))", re.IGNORECASE)


class Compression:
    """Wraps the application; only GET goes through the compressor, which also says `Vary: Accept-Encoding`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, minimum_size=LEAST, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._compressing(_plainly_said(scope), receive, send)


def _plainly_said(scope: Scope) -> Scope:
    """`scope` with an `Accept-Encoding` that is `gzip` or nothing: the compressor looks for the word alone."""
    given = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    if given in ([], [b"gzip"]):
        return scope
    others = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
    taken = _TAKEN.search(b", ".join(given)) is not None
    # kept in place: what the request collects for its answer lies in this very scope
    scope["headers"] = [*others, (b"accept-encoding", b"gzip")] if taken else others
    return scope
