"""An answer that goes on: sends a stream's bytes until it ends, the client leaves, or the server does.

Waits without a connection to PostgreSQL. A client that does not read is waited for in `send`; its outbox is what is bounded.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

GRACE_SECONDS: Final = 1.0
"""How long a client that does not read may hold up the end of its stream."""
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would collect the events
}


class Opened:
    """A stream that is about to be sent: its bytes (None: there is nothing to tell), and how long it may last."""

    def __init__(
        self, lines: AsyncIterator[bytes] | None, *, seconds: float = 0.0, over: asyncio.Event | None = None
    ) -> None:
        self.lines = lines
        self.seconds = seconds
        self.over = over or asyncio.Event()


class EventStream(Response):
    """Opens a stream and sends it. What opening raises is answered as usual: nothing has been sent by then."""

    media_type = "text/event-stream"

    def __init__(self, opening: AbstractAsyncContextManager[Opened]) -> None:
        super().__init__(None, 200, HEADERS)
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers: 204 where there is nothing to tell, so that the client does not ask again."""
        async with self._opening as opened:
            if opened.lines is None:
                await Response(status_code=204)(scope, receive, send)
                return
            headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            gone = asyncio.create_task(_gone(receive))
            parts = (
                asyncio.create_task(_write(opened.lines, send)),
                asyncio.create_task(_over(opened.over)),
                gone,
            )
            try:
                await asyncio.wait(parts, timeout=max(0.0, opened.seconds), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in parts:
                    part.cancel()
                ends = await asyncio.gather(*parts, return_exceptions=True)
            failed = ends[0]
            if isinstance(failed, OSError) or (gone.done() and not gone.cancelled()):
                return  # the client has left
            if isinstance(failed, Exception):
                raise failed
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(lines: AsyncIterator[bytes], send: Send) -> None:
    try:
        async for part in lines:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


async def _over(over: asyncio.Event) -> None:
    """Ends a stream that is over and whose client does not read."""
    await over.wait()
    await asyncio.sleep(GRACE_SECONDS)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
