"""The ground a run stands on: servers of its own in a folder of its own, databases, and what they use of the CPU."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil
import redis.asyncio as redis

from db.engine import Database
from db.migrate import upgrade
from service.embedded import EmbeddedPostgres, EmbeddedValkey, remove
from tests.benchmarks.programs import TASKS, Programs
from workers import catalogue

# As durable as a production server, with the memory and the log of a small one; the rest is as shipped.
POSTGRES_OPTIONS: Final[Mapping[str, str]] = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    quick: bool
    rounds: int
    jobs: int
    """Of one drain."""
    slow_jobs: int
    """Of one drain by a peer that is about ten times slower, or fewer."""
    seconds: float
    """Of one load over HTTP."""
    pickups: int
    """Of one round."""
    slow_pickups: int
    waiting: int
    history: int
    idle_workers: int
    """That wait for one job to be picked up."""
    fleet: int
    """Worker processes on one queue."""
    around: float
    """Seconds of traffic before and after an outage."""


def sizes(*, quick: bool, rounds: int | None, history: int | None, waiting: int | None) -> Sizes:
    """What was asked for, over the defaults of a quick or a full run."""
    if quick:
        chosen = Sizes(True, rounds or 1, 3_000, 1_000, 1.0, 20, 5, waiting or 50_000, history or 200_000, 2, 2, 1.0)
    else:
        chosen = Sizes(
            False, rounds or 5, 30_000, 5_000, 4.0, 100, 40, waiting or 1_000_000, history or 10_000_000, 8, 4, 3.0
        )
    return chosen


class Ground:
    """Servers, programs and sizes of one run."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, given: Sizes) -> None:
        self.folder = folder
        self.postgres = postgres
        self.valkey = valkey
        self.sizes = given
        self.programs = Programs(folder / "logs")
        self._databases = 0

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Ledger]:
        """A fresh, migrated database that knows the tasks, dropped at the end; Redis is emptied."""
        self._databases += 1
        name = f"bench_{self._databases}"
        await self._admin(f'CREATE DATABASE "{name}"')
        url = self.postgres.url_of(name)
        try:
            await upgrade(url)
            await _announce(url)
            async with self.redis() as client:
                await client.flushall()
            connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0", "lock_timeout": "0"})
            try:
                yield Ledger(url, self.valkey.url, connection)
            finally:
                await connection.close()
        finally:
            await self._admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextlib.asynccontextmanager
    async def redis(self) -> AsyncIterator[redis.Redis]:
        """A client of this run's Valkey."""
        client: redis.Redis = redis.Redis.from_url(self.valkey.url)
        try:
            yield client
        finally:
            await client.aclose()

    def postgres_cpu(self) -> float:
        """Seconds of CPU that all processes of the server have used, those that are gone included."""
        server = psutil.Process(self._postgres_pid())
        own = server.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in server.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
        return total

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.url_of("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _postgres_pid(self) -> int:
        return int((self.postgres.data / "postmaster.pid").read_text().splitlines()[0])


async def _announce(url: str) -> None:
    async with await Database.open(url, size=1) as database:
        await catalogue.announce(database.link, catalogue.load((TASKS,), ("demo",)))


@dataclass(frozen=True, slots=True)
class Ledger:
    """One database: its address, that of Redis beside it, and a connection without limits of time."""

    url: str
    redis_url: str
    connection: asyncpg.Connection[Any]

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use it."""
        return {"DATABASE_URL": self.url, "REDIS_URL": self.redis_url}

    async def empty(self) -> None:
        """Removes every job, as if there had been none."""
        await self.connection.execute(
            "TRUNCATE errander.jobs, errander.ready, errander.running, errander.history, errander.idempotency_keys"
        )

    async def settle(self) -> None:
        """Statistics and visibility as after a while of rest, and nothing left to be written behind the measurement."""
        await self.connection.execute("VACUUM ANALYZE errander.jobs, errander.ready, errander.running")
        await self.connection.execute("CHECKPOINT")

    async def is_drained(self) -> bool:
        """Whether nothing waits and nothing runs."""
        found: bool = await self.connection.fetchval(
            "SELECT NOT EXISTS (SELECT FROM errander.running) AND NOT EXISTS (SELECT FROM errander.ready)"
        )
        return found


@contextlib.contextmanager
def ground(given: Sizes) -> Iterator[Ground]:
    """Starts the servers in a temporary folder; ends whatever was started and removes it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="errander-bench-"))
    folder.chmod(0o755)  # the servers may run as another user
    try:
        with (
            EmbeddedPostgres(folder / "postgres", options=POSTGRES_OPTIONS) as postgres,
            EmbeddedValkey(folder / "valkey") as valkey,
        ):
            made = Ground(folder, postgres, valkey, given)
            try:
                yield made
            finally:
                made.programs.end_all()
    finally:
        for child in folder.iterdir():
            if child.is_symlink():
                remove(child)
        shutil.rmtree(folder, ignore_errors=True)
