"""What a worker test has: whole worker processes inside the test's own, on real servers."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
import redis.asyncio

from db import leader, workers
from db.engine import Database
from service.chaos.ledger import LEDGER_VARIABLE
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers import ending
from workers.hints import Hints
from workers.process import WorkerProcess
from workers.settings import WorkerSettings

RunWorker = Callable[..., AbstractAsyncContextManager["Running"]]

_DEFAULTS: dict[str, Any] = {
    "tasks": ("tests.faults.tasks",),
    "builtin_tasks": ("demo",),
    "lease": 6.0,
    "heartbeat": 0.2,
    "reaper": 0.3,
    "leader": 2.0,
    "head": 0.3,
    "stuck": 5.0,
    "drain": 5.0,
    "slots": 50,
    "metrics_port": 0,
}
HINTS_ONLY = 3600.0
"""For `head`: after its first look such a worker finds jobs by hint alone."""


class Running:
    """A worker in this process."""

    count = 0
    """How many of them run now."""

    def __init__(self, process: WorkerProcess, database: Database) -> None:
        self.process = process
        self._database = database
        self.task = asyncio.create_task(process.run(), name="worker under test")

    async def ready(self) -> None:
        """Waits until it may take jobs."""
        await eventually(lambda: self.task.done() or self.process.lease.fresh(), 30)
        if self.task.done():
            self.task.result()

    async def idle(self) -> None:
        """Waits until it sleeps on its wake token: it has looked at the head of its queues."""
        client = redis.asyncio.Redis.from_url(self.process.settings.redis_url.get_secret_value())
        try:
            await eventually(lambda: self._sleeps(client), message="it never slept")
        finally:
            await client.aclose()

    async def _sleeps(self, client: redis.asyncio.Redis) -> bool:
        database = str(client.connection_pool.connection_kwargs["db"])
        clients = await client.client_list()
        sleeping = [row for row in clients if row["cmd"] == "blpop" and row["db"] == database]
        return len(sleeping) >= Running.count

    async def drain(self) -> None:
        """Asks it to end, as the API does."""
        await workers.request_drain(self._database.link, self.process.id)

    async def ended(self, timeout: float = 30.0) -> bool:
        """Waits for its end; whether it is to start again."""
        await asyncio.wait({self.task}, timeout=timeout)
        if not self.task.done():
            where = io.StringIO()
            self.task.print_stack(file=where)
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=10)
            raise AssertionError(f"it did not end; it stood here:\n{where.getvalue()}")
        return self.task.result()


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """What really ran, in this process and in its children."""
    made = Ledger(tmp_path / "ledger")
    monkeypatch.setenv(LEDGER_VARIABLE, str(made.path))
    return made


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's own connections."""
    async with await Database.open(database_url, size=4) as opened:
        yield opened


@pytest.fixture
def book(database: Database) -> JobBook:
    """Jobs in the test's database."""
    return JobBook(database)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """The test's own client."""
    client = redis.asyncio.Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def hints(redis_client: redis.asyncio.Redis) -> Hints:
    """The publisher's scripts over the test's own client."""
    return Hints(redis_client)


@pytest.fixture
def run_worker(
    database: Database, database_url: str, redis_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> RunWorker:
    """`async with run_worker(slots=1) as running:` a worker that is drained at the end of the block."""

    def never_leave(**_: object) -> NoReturn:
        raise AssertionError("a worker wanted to end the test's own process")

    monkeypatch.setattr(ending, "leave", never_leave)

    @contextlib.asynccontextmanager
    async def run(*, burst: bool = False, **settings: Any) -> AsyncIterator[Running]:
        given = {**_DEFAULTS, "database_url": database_url, "redis_url": redis_url, **settings}
        if given["head"] == HINTS_ONLY:
            # somebody else leads: the horizon loop would publish what a test wants to see published by others
            given["leader"] = HINTS_ONLY  # a term much longer than one's own is nobody's
            await leader.lead(database.link, uuid4(), seconds=HINTS_ONLY)
        running = Running(WorkerProcess(WorkerSettings(**given), burst=burst), database)
        Running.count += 1
        try:
            await running.ready()
            if given["head"] == HINTS_ONLY:
                await running.idle()
            yield running
        finally:
            Running.count -= 1
            if not running.task.done():
                await running.drain()
            await running.ended()

    return run
