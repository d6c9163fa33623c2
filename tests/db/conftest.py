"""What the proofs of the statements share: a scene, statements that can be changed, and races that can be staged."""

from collections.abc import AsyncIterator, Iterator

import pytest

from db import statements
from db.engine import Database
from tests.db.racing import Gate
from tests.db.scene import Scene
from tests.db.texts import Texts


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database with room for several transactions at once."""
    async with await Database.open(database_url, size=12) as opened:
        yield opened


@pytest.fixture
def scene(database: Database) -> Scene:
    """Builders over the fresh database."""
    return Scene(database)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Texts]:
    """Statements whose text the test changes; all are whole again afterwards."""
    changed = Texts(statements.source)
    monkeypatch.setattr(statements, "source", changed.source)
    statements.load.cache_clear()
    yield changed
    statements.load.cache_clear()


@pytest.fixture
async def gate(scene: Scene, texts: Texts) -> AsyncIterator[Gate]:
    """Holds statements back between their snapshot and their locks."""
    opened = Gate(scene, texts)
    yield opened
    await opened.close()
