"""A TCP proxy between a worker and a server, which can lose the answer to one request."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_PIECE = 65_536


class Proxy:
    """Forwards to `host:port`. `async with` it; `port` is where it listens.

    `cut_after(words)`: the next request that holds these bytes is forwarded; once the server has answered it, the
    connection is dropped without the answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._words: bytes | None = None
        self.cuts = 0
        """Answers lost so far."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut_after(self, words: bytes) -> None:
        """Lose the answer to the next request that holds `words`."""
        self._words = words

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for pair in self._pairs:
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._pairs.add(current)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side went away, or the test is over
        finally:
            self._pairs.discard(current)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_reader, theirs_writer = await asyncio.open_connection(*self._target)
        doomed = asyncio.Event()

        async def forward() -> None:
            while piece := await reader.read(_PIECE):
                if self._words is not None and self._words in piece:
                    self._words = None
                    doomed.set()
                theirs_writer.write(piece)
                await theirs_writer.drain()

        async def back() -> None:
            while piece := await theirs_reader.read(_PIECE):
                if doomed.is_set():
                    self.cuts += 1  # the server has done what it was asked, and nobody hears of it
                    return
                writer.write(piece)
                await writer.drain()

        ways = {asyncio.create_task(forward()), asyncio.create_task(back())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            theirs_writer.close()
            with contextlib.suppress(OSError):
                writer.transport.abort()
