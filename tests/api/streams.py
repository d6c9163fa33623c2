"""Clients of streams: they drive the application by hand, read when they are told to, and leave when they want."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.types import ASGIApp, Message

from tests.db.scene import Scene
from tests.fixtures.waiting import eventually


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is what the client would send as `Last-Event-ID` after it."""

    name: str
    data: dict[str, Any]
    id: str | None
    at: float
    """When it came (`time.monotonic()`)."""


class Stream:
    """One client's connection."""

    def __init__(
        self, app: ASGIApp, path: str = "/", last_id: str | None = None, *, credential: str | None = None
    ) -> None:
        address, _, query = path.partition("?")
        headers = [] if last_id is None else [(b"last-event-id", last_id.encode())]
        if credential is not None:
            headers.append((b"authorization", f"Bearer {credential}".encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": address,
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "server": ("test", 80),
            "client": ("127.0.0.1", 1),
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.events: list[Event] = []
        self.pings = 0
        self.last_id = last_id
        self.ended = False
        self.text = ""
        self._parsed = 0
        self._asked = False
        self._reads = asyncio.Event()
        self._reads.set()
        self._left = asyncio.Event()

        async def run() -> None:
            await app(scope, self._receive, self._send)

        self._task = asyncio.create_task(run())

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        self.text += message.get("body", b"").decode()
        self.ended = not message.get("more_body", False)
        if self.status == 200:
            self._parse()

    def _parse(self) -> None:
        while (end := self.text.find("\n\n", self._parsed)) >= 0:
            fields = [line.partition(": ") for line in self.text[self._parsed : end].split("\n")]
            self._parsed = end + 2
            found = {name: value for name, _, value in fields}
            self.pings += found.get("") == "ping"
            self.last_id = found.get("id", self.last_id)
            if "data" in found:
                self.events.append(Event(found["event"], json.loads(found["data"]), self.last_id, time.monotonic()))

    def stall(self) -> None:
        """Reads nothing more for now."""
        self._reads.clear()

    def go_on(self) -> None:
        """Reads again."""
        self._reads.set()

    async def next(self, timeout: float = 5.0) -> Event:
        """The next event, taken away."""
        await eventually(lambda: bool(self.events), timeout, message=lambda: f"no event in:\n{self.text}")
        return self.events.pop(0)

    async def job(self, timeout: float = 5.0) -> dict[str, Any]:
        """The state that the next event carries, which must be one."""
        event = await self.next(timeout)
        assert event.name == "job", event
        return event.data

    async def until(self, status: str) -> dict[str, Any]:
        """The first state from now on under `status`."""
        while (found := await self.job())["status"] != status:
            pass
        return found

    async def over(self, timeout: float = 5.0) -> None:
        """Waits until the server has ended it."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._task)

    async def leave(self) -> None:
        """Goes away."""
        self._left.set()
        self._reads.set()
        async with asyncio.timeout(5):
            await self._task


@contextlib.asynccontextmanager
async def streaming(
    app: ASGIApp, path: str = "/", last_id: str | None = None, *, credential: str | None = None
) -> AsyncIterator[Stream]:
    """A stream, answered; the client leaves at the end."""
    stream = Stream(app, path, last_id, credential=credential)
    try:
        await eventually(lambda: stream.status != 0)
        yield stream
    finally:
        await stream.leave()


async def start(scene: Scene, job: UUID) -> UUID:
    """A new worker starts the job."""
    worker = await scene.worker()
    assert await scene.claim(worker, job)
    return worker


async def progress(scene: Scene, worker: UUID, job: UUID, done: int) -> None:
    """The job says how far it is, in its first attempt."""
    said = {"done": done, "total": 9, "message": None}
    await scene.finish("progress", worker, (job, 1), progress=json.dumps(said))
