"""The application in process: real PostgreSQL and Valkey, requests through ASGI, its lifespan around each test."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from db import tasks
from db.engine import Database
from db.tasks import Announcement
from service.main import create_app
from service.settings import ApiSettings
from tests.db.scene import Scene
from tests.fixtures.jobs import JobBook
from tests.fixtures.servers import Databases

ANYTHING = Announcement("demo.echo", "echo-1", {"type": "object"})
SLEEP = Announcement(
    "demo.sleep",
    "sleep-1",
    {
        "type": "object",
        "properties": {"seconds": {"type": "number", "minimum": 0}},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    defaults={
        "priority": "low",
        "max_attempts": 2,
        "timeout": 12.5,
        "backoff": {"kind": "fixed", "base": 1.0, "jitter": 0.0},
    },
)


def settings_for(database_url: str, redis_url: str, **changes: object) -> ApiSettings:
    """Settings as a test needs them; nothing comes from the environment."""
    given = {"database_url": SecretStr(database_url), "redis_url": SecretStr(redis_url), "auth": "off"}
    return ApiSettings.model_validate(given | changes)


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application between start and stop, and a client of it."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=40) as client:
            yield client


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """The address of a database that nobody has migrated."""
    name = databases.create()
    yield databases.server.url_of(name)
    databases.drop(name)


@pytest.fixture
def settings(database_url: str, redis_url: str) -> ApiSettings:
    """Settings of the application under test."""
    return settings_for(database_url, redis_url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A door of the test's own, with two tasks in the catalogue."""
    async with await Database.open(database_url, size=4) as opened:
        await tasks.announce(opened.link, [ANYTHING, SLEEP])
        yield opened


@pytest.fixture
def app(settings: ApiSettings) -> FastAPI:
    """The application, not started."""
    return create_app(settings)


@pytest.fixture
async def api(app: FastAPI, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application."""
    async with running(app) as client:
        yield client


@pytest.fixture
def book(database: Database) -> JobBook:
    """Jobs behind the API's back."""
    return JobBook(database)


@pytest.fixture
async def scene(database: Database, api: httpx.AsyncClient) -> Scene:
    """Jobs behind the back of a running application."""
    return Scene(database)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are looked at more often, so that no test waits for it."""
    monkeypatch.setattr("service.live.list_feed.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("service.live.list_feed.COST_FACTOR", 1.0)
