"""What a fault test has: a fleet of real workers, a ledger of what ran, and servers of its own to break."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from db.engine import Database
from db.migrate import upgrade
from service.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.servers import open_postgres, open_valkey
from workers.hints import Hints


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """What really ran."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def fleet(tmp_path: Path, ledger: Ledger, database_url: str, redis_url: str) -> Iterator[Fleet]:
    """Workers on the session's servers."""
    made = Fleet(tmp_path, {"DATABASE_URL": database_url, "REDIS_URL": redis_url}, ledger)
    yield made
    made.close()


@pytest.fixture
def failpoints(tmp_path: Path) -> Failpoints:
    """Failpoints of the test's processes."""
    return Failpoints(tmp_path)


@pytest.fixture
async def book(database_url: str) -> AsyncIterator[JobBook]:
    """Jobs in the fleet's database."""
    async with await Database.open(database_url, size=4) as database:
        yield JobBook(database)


@pytest.fixture
async def hints(redis_url: str) -> AsyncIterator[Hints]:
    """Hints in the fleet's Redis."""
    client = redis.asyncio.Redis.from_url(redis_url)
    yield Hints(client)
    await client.aclose()


@pytest.fixture(scope="session")
def _own_postgres_server() -> Iterator[EmbeddedPostgres]:
    with open_postgres(max_connections="100") as server:
        yield server


@pytest.fixture
async def own_postgres(_own_postgres_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """A PostgreSQL that a test may freeze, with an empty schema."""
    async with await Database.open(_own_postgres_server.url, size=1) as database:
        await database.link.executor.execute("DROP SCHEMA IF EXISTS errander CASCADE")
    await upgrade(_own_postgres_server.url)
    return _own_postgres_server


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey that a test may flush, freeze and restart; it keeps nothing."""
    with open_valkey() as server:
        yield server
