"""Streams while something is away, full, over or about to end; and answers that are held."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import errander
from db import changes, jobs
from db.engine import Database
from db.errors import Unavailable
from db.filters import JobFilter
from service.auth.principal import ANYONE, Principal
from service.auth.scopes import EVERYTHING
from service.limits.door import Door
from service.live.hub import Live
from service.live.lines import mark_of
from service.live.stream import EventStream
from service.main import create_app
from tests.api.conftest import settings_for
from tests.api.problems import problem
from tests.api.streams import Stream, start, streaming
from tests.db.scene import Scene
from tests.fixtures.waiting import eventually

MINE = Principal("key:mine", "default", EVERYTHING)


pytestmark = pytest.mark.usefixtures("quick_looks")


@pytest.fixture
async def quick(app: FastAPI, scene: Scene) -> AsyncIterator[Live]:
    """Another of the same application, with a heartbeat that a test can wait for and narrow doors."""
    services = app.state.services
    door = Door("streams", most=3, most_of_one=2)
    made = Live(services.database, services.waiting, services.guard.still_good, door=door, heartbeat=0.1)
    made.start()
    yield made
    await made.stop()


async def test_a_quiet_stream_has_heartbeats_that_carry_its_place(scene: Scene, quick: Live) -> None:
    job = await scene.job()
    async with streaming(EventStream(quick.follow_job(MINE, job, None))) as one:
        await eventually(lambda: one.pings >= 3)
    async with streaming(EventStream(quick.follow_jobs(MINE, JobFilter(), None))) as many:
        await eventually(lambda: many.pings >= 3)
        place = mark_of(many.last_id)
        assert place is not None
        await eventually(lambda: (mark_of(many.last_id) or place).at > place.at)


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a fault of ours")])
async def test_postgresql_away_is_a_pause_of_the_stream(
    scene: Scene, quick: Live, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("service.live.job_feed.AWAY_SECONDS", 0.05)
    monkeypatch.setattr("service.live.list_feed.AWAY_SECONDS", 0.05)
    job = await scene.job()
    async with (
        streaming(EventStream(quick.follow_job(MINE, job, None))) as one,
        streaming(EventStream(quick.follow_jobs(MINE, JobFilter(), None))) as many,
    ):
        await one.job()
        await many.job()
        failed: list[str] = []

        def away(name: str) -> Any:
            async def fails(*_: Any, **__: Any) -> Any:
                failed.append(name)
                raise error

            return fails

        with monkeypatch.context() as patch:
            patch.setattr(changes, "states", away("states"))
            patch.setattr(changes, "since", away("since"))
            await start(scene, job)
            await eventually(lambda: {"states", "since"} <= set(failed))
            pings = one.pings, many.pings
            await eventually(lambda: one.pings > pings[0] and many.pings > pings[1])
            assert (one.events, many.events) == ([], [])
        assert (await one.job())["status"] == "RUNNING"
        assert (await many.job())["status"] == "RUNNING"


async def test_streams_are_bounded_for_a_process_and_for_a_credential(scene: Scene, quick: Live) -> None:
    job = await scene.job()

    def opening(principal: Principal) -> EventStream:
        return EventStream(quick.follow_job(principal, job, None))

    async with streaming(opening(MINE)), streaming(opening(MINE)):
        refused = Stream(opening(MINE))
        with pytest.raises(Exception, match="quota-exceeded: this server holds 2 streams of this credential") as error:
            await refused.over()
        assert getattr(error.value, "headers", {}) == {
            "Retry-After": "5",
            "RateLimit-Policy": '"streams";q=2;qu="streams"',
            "RateLimit": '"streams";r=0',
        }
        assert getattr(error.value, "extra", {}) == {"violated-policies": ["streams"]}
        async with streaming(opening(ANYONE)):
            with pytest.raises(Exception, match="unavailable: this server holds 3 streams"):
                await Stream(opening(ANYONE)).over()
    async with streaming(opening(MINE)) as stream:
        assert stream.status == 200, "who leaves makes room"


async def test_a_stream_ends_with_its_credential(scene: Scene, quick: Live) -> None:
    job = await scene.job()
    soon = Principal("jwt:x", "default", EVERYTHING, expires_at=time.time() + 0.3)
    async with streaming(EventStream(quick.follow_job(soon, job, None))) as stream:
        await stream.over(timeout=3)
        assert stream.ended
        assert [event.name for event in stream.events] == ["job"], "no end: the job goes on"


async def test_redis_away_costs_the_hurry_and_nothing_else(
    database_url: str, database: Database, valkey_server: Any
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{closed.getsockname()[1]}"
        app = create_app(settings_for(database_url, nowhere))
        async with app.router.lifespan_context(app):
            scene = Scene(database)
            job = await scene.job()
            async with streaming(app, f"/v1/jobs/{job}/events") as one, streaming(app, "/v1/events") as many:
                await one.job()
                await many.job()
                worker = await start(scene, job)
                assert (await one.job())["status"] == (await many.job())["status"] == "RUNNING"
                await scene.finish("succeed", worker, (job, 1))
                assert (await one.until("SUCCESS"))["id"] == str(job)
                assert (await many.until("SUCCESS"))["id"] == str(job)


async def test_news_from_redis_are_not_waited_for(app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.live.job_feed.LOOK_SECONDS", 60.0)
    job = await scene.job()
    async with streaming(app, f"/v1/jobs/{job}/events") as stream:
        await stream.job()

        async def cancelled() -> bool:
            app.state.services.publisher.offer_final([job])
            return any(event.data["status"] == "CANCELLED" for event in stream.events)

        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [job], None)
        await eventually(cancelled)


async def test_a_fault_of_ours_ends_neither_the_news_nor_the_asking(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.waiting.POLL_SECONDS", 0.05)
    waiting, job = app.state.services.waiting, await scene.job()
    failed: list[str] = []

    def fault(name: str) -> Any:
        def fails(*_: Any) -> Any:
            failed.append(name)
            raise ValueError("a fault of ours")

        return fails

    async with waiting.watch(job, MINE) as watch:
        with monkeypatch.context() as patch:
            patch.setattr(waiting, "_heard", fault("heard"))
            patch.setattr(jobs, "final_among", fault("asked"))

            async def both() -> bool:
                app.state.services.publisher.offer_final([job])
                return {"heard", "asked"} <= set(failed)

            await eventually(both)
        asked = asyncio.create_task(watch.until(time.monotonic() + 5))

        async def heard() -> bool:
            app.state.services.publisher.offer_final([job])
            return asked.done()

        await eventually(heard)
        assert asked.result(), "the news came"
        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [job], None)
        monkeypatch.setattr(waiting, "_heard", lambda _: None)
        assert await watch.until(time.monotonic() + 5), "and PostgreSQL is asked"


@pytest.fixture
def quiet_signals() -> Iterator[None]:
    """SIGTERM, which uvicorn raises again when it has stopped, does not end the tests."""
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, former)


@contextlib.asynccontextmanager
async def served(database_url: str, redis_url: str, port: int = 0) -> AsyncIterator[int]:
    """The application under uvicorn until a signal, which is sent at the end; its port."""
    app = create_app(settings_for(database_url, redis_url))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=20))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(serving, 15)


async def test_a_signal_ends_streams_at_once(
    database_url: str, redis_url: str, database: Database, quiet_signals: None
) -> None:
    job = await Scene(database).job()
    async with contextlib.AsyncExitStack() as stack:
        async with served(database_url, redis_url) as port:
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
            one = await stack.enter_async_context(client.stream("GET", f"/v1/jobs/{job}/events"))
            many = await stack.enter_async_context(client.stream("GET", "/v1/events"))
            lines = one.aiter_lines()
            while not (await anext(lines)).startswith("data:"):
                pass
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert "event: end" not in [line async for line in lines], "the job goes on"
        await many.aread()


async def test_the_client_follows_a_job_over_a_restart(
    database_url: str, redis_url: str, database: Database, quiet_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.lines.RETRY", b"retry: 50\n\n")
    scene = Scene(database)
    job = await scene.job()
    async with contextlib.AsyncExitStack() as stack:
        async with served(database_url, redis_url) as port:
            client = await stack.enter_async_context(errander.AsyncClient(f"http://127.0.0.1:{port}"))
            states = client.jobs.watch(str(job))
            assert (await anext(states)).status == "PENDING"
            worker = await start(scene, job)
            assert (await anext(states)).status == "RUNNING"
        await scene.finish("fail", worker, (job, 1))
        async with served(database_url, redis_url, port):
            failed = await anext(states)
            assert (failed.status, failed.error and failed.error.message) == ("RETRYING", "m")
            await scene.claim(worker, job)
            await scene.finish("succeed", worker, (job, 2))
            assert [state.status async for state in states][-1] == "SUCCESS"
            explained = await client.jobs.explain(str(job))
            assert explained.reasons[0].code == "final"


async def test_shutdown_does_not_wait_for_who_does_not_read(
    scene: Scene, quick: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.stream.GRACE_SECONDS", 0.1)
    job = await scene.job()
    async with streaming(EventStream(quick.follow_job(MINE, job, None))) as stream:
        await stream.job()
        stream.stall()
        await start(scene, job)
        quick.release()
        await stream.over(timeout=2)
        with pytest.raises(Exception, match="unavailable: this server is shutting down"):
            await Stream(EventStream(quick.follow_job(MINE, job, None))).over()


async def test_held_answers_are_bounded_and_no_submit_is_refused_for_that(
    app: FastAPI, api: httpx.AsyncClient, scene: Scene
) -> None:
    door = app.state.services.waiting.door
    door._most, door._most_of_one = 2, 1
    job = await scene.job()
    held = [asyncio.create_task(api.get(f"/v1/jobs/{job}?wait=20")) for _ in range(2)]
    await eventually(lambda: door.inside == 2)
    refused = await api.get(f"/v1/jobs/{job}?wait=20")
    assert "holds 2 answers (`wait`)" in problem(refused, "unavailable", 503)["detail"]
    assert refused.headers["retry-after"] == "5"
    assert (await api.get(f"/v1/jobs/{job}")).status_code == 200
    began = time.monotonic()
    submitted = await api.post("/v1/jobs?wait=20", json={"task": "demo.echo"})
    assert (submitted.status_code, time.monotonic() - began < 5) == (202, True)
    async with scene.database.begin() as link:
        await jobs.cancel(link, "default", [job], None)
    assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
    assert door.inside == 0


async def test_held_answers_hold_no_connection(api: httpx.AsyncClient, scene: Scene) -> None:
    job = await scene.job()
    held = [asyncio.create_task(api.get(f"/v1/jobs/{job}?wait=20")) for _ in range(50)]
    await eventually(lambda: api.get(f"/v1/jobs/{job}"))
    began = time.monotonic()
    for _ in range(20):
        assert (await api.get(f"/v1/jobs/{job}")).status_code == 200
    assert time.monotonic() - began < 5
    assert not any(task.done() for task in held)
    async with scene.database.begin() as link:
        await jobs.cancel(link, "default", [job], None)
    answers = await asyncio.gather(*held)
    assert {answer.json()["status"] for answer in answers} == {"CANCELLED"}
