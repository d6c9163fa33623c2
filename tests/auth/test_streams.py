"""Answers that last: they end with the credential they were asked for with."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from db import jobs
from db import keys as kept_keys
from db.engine import Database
from service.auth.keys import parse
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running
from tests.api.problems import problem
from tests.api.streams import streaming
from tests.auth.conftest import MakeKey, bearer
from tests.db.scene import Scene
from tests.fixtures.waiting import eventually


@pytest.fixture
def app(settings: ApiSettings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application, which looks often after what it streams."""
    monkeypatch.setattr("service.live.hub.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("service.waiting.POLL_SECONDS", 0.05)
    return create_app(settings)


@pytest.fixture
async def api(app: FastAPI, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    async with running(app) as client:
        yield client


@pytest.fixture
def scene(database: Database) -> Scene:
    """Jobs behind the back of the application."""
    return Scene(database)


async def revoke(api: httpx.AsyncClient, make_key: MakeKey, key: str) -> None:
    """Revokes a key as its owner does."""
    manager, found = await make_key("keys:manage"), parse(key)
    assert found is not None
    answer = await api.post(f"/v1/keys/{found.id}/revoke", headers=bearer(manager))
    assert answer.status_code == 200, answer.text


async def test_streams_end_when_their_key_is_revoked(
    app: FastAPI, api: httpx.AsyncClient, scene: Scene, make_key: MakeKey
) -> None:
    job = await scene.job()
    stolen, good = await make_key("jobs:read"), await make_key("jobs:read")
    token = (await api.post("/v1/auth/token", headers=bearer(stolen), json={})).json()["access_token"]
    paths = f"/v1/jobs/{job}/events", "/v1/events"
    async with contextlib.AsyncExitStack() as stack:
        ending = [
            await stack.enter_async_context(streaming(app, path, credential=credential))
            for path in paths
            for credential in (stolen, token)
        ]
        staying = [await stack.enter_async_context(streaming(app, path, credential=good)) for path in paths]
        for stream in (*ending, *staying):
            assert (await stream.job())["id"] == str(job)
        await revoke(api, make_key, stolen)
        for stream in ending:
            await stream.over(timeout=3)
            assert (stream.ended, stream.events) == (True, [])
        assert (await api.get(f"/v1/jobs/{job}", headers=bearer(stolen))).status_code == 401
        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [job], None)
        for stream in staying:
            assert (await stream.until("CANCELLED"))["id"] == str(job)


async def test_a_stream_ends_when_its_key_expires(
    app: FastAPI, api: httpx.AsyncClient, scene: Scene, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.hub.CHECK_SECONDS", 3600.0)  # a timer of the stream's own ends it
    job = await scene.job()
    soon = await make_key("jobs:read", expires_in=3.0)
    record = await kept_keys.find(scene.database.link, soon.split("_")[1])
    assert record is not None
    assert record.expires_at is not None
    async with streaming(app, f"/v1/jobs/{job}/events", credential=soon) as stream:
        await stream.job()
        await stream.over(timeout=6)
        assert stream.ended
        assert abs(time.time() - record.expires_at.timestamp()) < 1


async def test_a_held_answer_is_not_given_to_a_key_that_was_revoked_meanwhile(
    app: FastAPI, api: httpx.AsyncClient, scene: Scene, make_key: MakeKey
) -> None:
    job = await scene.job()
    key = await make_key("jobs:read", "jobs:submit")
    held = asyncio.create_task(api.get(f"/v1/jobs/{job}?wait=20", headers=bearer(key)))
    submitted = asyncio.create_task(api.post("/v1/jobs?wait=20", headers=bearer(key), json={"task": "demo.echo"}))
    await eventually(lambda: app.state.services.waiting.door.inside == 2)
    await revoke(api, make_key, key)
    mine = [row["id"] for row in await scene.ask("SELECT id FROM errander.jobs")]
    async with scene.database.begin() as link:
        await jobs.cancel(link, "default", mine, None)
    problem(await held, "unauthenticated", 401)
    answer = await submitted
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING"), "it was accepted, and that stands"
