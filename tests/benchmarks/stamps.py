"""Listening for the moments at which task code ran."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamp:
    """Code ran at `at` (CLOCK_MONOTONIC, the same for all processes of a machine) in process `pid`."""

    what: str
    number: int
    at: float
    pid: int


class Stamps:
    """Every stamp so far, the first of each number; wait for one, or for as many as there should be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[tuple[str, int], Stamp] = {}
        self._news = asyncio.Condition()

    async def of(self, what: str, number: int, timeout: float = 30.0) -> Stamp:
        """The first stamp with this name and number, once it is there. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: (what, number) in self.seen)
        return self.seen[what, number]

    async def count(self, n: int, timeout: float = 30.0) -> None:
        """Waits until there are `n` different ones. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= n)

    async def _take(self, datagram: bytes) -> None:
        what, number, at, pid = datagram.decode().split()
        one = Stamp(what, int(number), float(at), int(pid))
        async with self._news:
            self.seen.setdefault((what, one.number), one)
            self._news.notify_all()

    async def _listen(self, receiver: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._take(await loop.sock_recv(receiver, 1024))


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Stamps]:
    """Listens on a socket in `folder` for as long as the block runs."""
    path = folder / "stamps"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setblocking(False)
        receiver.bind(str(path))
        stamps = Stamps(path)
        task = asyncio.create_task(stamps._listen(receiver))
        try:
            yield stamps
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            path.unlink()
