"""The application with authentication on: keys in PostgreSQL, tokens by a secret or by an issuer's keys."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from db.engine import Database
from service.auth.issuing import Wish, issue
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import ANYTHING, SLEEP, running, settings_for
from tests.fixtures.jobs import JobBook

SECRET = "2f1c9a4be07d45c6a3f8d1b26e5c90aa"

MakeKey = Callable[..., Awaitable[str]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A door of the test's own, with two tasks in the catalogue."""
    from db import tasks

    async with await Database.open(database_url, size=4) as opened:
        await tasks.announce(opened.link, [ANYTHING, SLEEP])
        yield opened


@pytest.fixture
def settings(database_url: str, redis_url: str) -> ApiSettings:
    """Authentication by keys and by tokens with a shared secret."""
    return settings_for(database_url, redis_url, auth="required", jwt_secret=SecretStr(SECRET))


@pytest.fixture
async def api(settings: ApiSettings, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    del database
    async with running(create_app(settings)) as client:
        yield client


@pytest.fixture
def make_key(database: Database) -> MakeKey:
    """Makes a key as `errander key create --local` does; the key."""

    async def make(*scopes: str, tenant: str = "default", **more: Any) -> str:
        _, text = await issue(database.link, b"", Wish(tenant, "of a test", scopes or ["jobs:read"], "test", **more))
        return text

    return make


@pytest.fixture
def book(database: Database) -> JobBook:
    """Jobs behind the API's back."""
    return JobBook(database)


def bearer(credential: str) -> dict[str, str]:
    """The header of a credential."""
    return {"Authorization": f"Bearer {credential}"}
