"""A TCP proxy that breaks the link between a process and a server in every way a network can, changed while it runs.

Pieces are forwarded in order, in both directions apart. `up` is the way from the client to the server, `down` the way
back. A silent way keeps what was sent and delivers it when the way is open again, as a healed partition does: to both
ends nothing has happened but that nobody answers.
"""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_PIECE = 65_536
_TICKS = 20  # a narrow way sends so many pieces a second
_LINGER_RESET = struct.pack("ii", 1, 0)  # on, for no time at all: close() answers with a reset


class _Cut(Exception):
    """The connection ends here."""


@dataclass(slots=True)
class Way:
    """One direction. `latency` and `jitter` are seconds a piece, `rate` bytes a second (0: no limit)."""

    latency: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: nothing gets through, and nobody is told."""
    until_cut: int | None = None
    """The connection that carries this many more bytes is reset after them."""

    def __post_init__(self) -> None:
        self.open.set()

    async def delay(self, size: int) -> None:
        """Takes as long as a piece of `size` takes."""
        seconds = self.latency + self.jitter * random.random() + (size / self.rate if self.rate else 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    @property
    def piece(self) -> int:
        """How many bytes go at once."""
        return max(1, int(self.rate / _TICKS)) if self.rate else _PIECE

    def cut(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` still gets through, and whether the connection ends after it."""
        if self.until_cut is None:
            return data, False
        if len(data) < self.until_cut:
            self.until_cut -= len(data)
            return data, False
        kept, self.until_cut = data[: self.until_cut], None
        return kept, True


class _Pair:
    """One client's connection and its own to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.doomed = False
        """A request with the words has been forwarded: its answer is lost."""

    def abort(self, *, reset: bool) -> None:
        for writer in (self.client, self.server):
            if reset:
                raw = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            writer.transport.abort()


class Proxy:
    """Forwards to `host:port`. `async with` it; `port` is where it listens, on `listen`."""

    def __init__(self, host: str, port: int, *, listen: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.listen = listen
        self.up = Way()
        self.down = Way()
        self.cuts = 0
        """Connections cut so far, after so many bytes or instead of an answer."""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: set[_Pair] = set()
        self._words: bytes | None = None

    @classmethod
    def of(cls, url: str, *, listen: str = "127.0.0.1") -> Self:
        """In front of the server of an address. Raises ValueError where it names no port."""
        return cls(*_address(url), listen=listen)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._pairs)

    def through(self, url: str) -> str:
        """The same address by way of this proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{self.listen}:{self.port}"))

    # -- faults ------------------------------------------------------------------------------------------------------

    def cut_after(self, words: bytes) -> None:
        """The next request that holds `words` is forwarded; once it is answered, the connection is dropped instead."""
        self._words = words

    def silence(self, *ways: Way) -> None:
        """Nothing gets through any more, both ways unless told which; new connections are taken and hear nothing."""
        for way in ways or (self.up, self.down):
            way.open.clear()

    def slow(self, *, latency: float = 0.0, jitter: float = 0.0, rate: float = 0.0) -> None:
        """Makes both ways slow: seconds a piece, at most so much more, bytes a second."""
        for way in (self.up, self.down):
            way.latency, way.jitter, way.rate = latency, jitter, rate

    def reset(self) -> None:
        """Ends every connection with a reset."""
        for pair in list(self._pairs):
            pair.abort(reset=True)

    def half_close(self) -> None:
        """The server's side of every connection is closed to the clients, which may still send."""
        for pair in self._pairs:
            if pair.client.can_write_eof() and not pair.client.is_closing():
                pair.client.write_eof()

    async def refuse(self) -> None:
        """New connections are refused; those that are there go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # the listening socket is closed by the loop

    def repoint(self, url: str) -> None:
        """From now on it leads to another server; what was connected is reset, as when an address moves.

        Raises ValueError where the address names no port.
        """
        self.target = _address(url)
        self.reset()

    async def heal(self) -> None:
        """Everything gets through again."""
        for way in (self.up, self.down):
            way.latency = way.jitter = way.rate = 0.0
            way.until_cut = None
            way.open.set()
        if self._server is None:
            await self._start()

    # -- forwarding --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.listen, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_until_gone(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # here and not in the task, which may be cancelled before it begins
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve_until_gone(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # either side went away
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.up.open.wait()  # whoever connects to a silent link is taken, and hears nothing
        server_reader, server_writer = await asyncio.open_connection(*self.target)
        pair = _Pair(writer, server_writer)
        self._pairs.add(pair)
        ways = {
            asyncio.create_task(self._pump(pair, reader, server_writer, self.up)),
            asyncio.create_task(self._pump(pair, server_reader, writer, self.down)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything is waited for: a proxy that ends now cancels this a second time.
            self._pairs.discard(pair)
            pair.abort(reset=any(_is_cut(way) for way in ways))
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        before = b""
        while piece := await source.read(way.piece):
            if way is self.up:
                before = self._notice(pair, before, piece)
            elif pair.doomed:
                self.cuts += 1  # the server has done what it was asked, and nobody hears of it
                raise _Cut
            await way.delay(len(piece))
            await way.open.wait()
            kept, ends = way.cut(piece)
            sink.write(kept)
            await sink.drain()
            if ends:
                self.cuts += 1
                raise _Cut

    def _notice(self, pair: _Pair, before: bytes, piece: bytes) -> bytes:
        """Looks for the words, also where they lie across two pieces."""
        if self._words is None:
            return b""
        if self._words in before + piece:
            self._words = None
            pair.doomed = True
            return b""
        return (before + piece)[-len(self._words) :]


def _is_cut(way: asyncio.Task[None]) -> bool:
    return way.done() and not way.cancelled() and isinstance(way.exception(), _Cut)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.port is None:
        raise ValueError(f"the address names no port: {parts.hostname}")
    return parts.hostname or "127.0.0.1", parts.port
