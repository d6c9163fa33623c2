"""Following one job live: its state first, then every change, and its end."""

import asyncio
import itertools
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from db import jobs
from db.engine import Link
from service.api.documents import JobItemDocument
from tests.api.problems import problem
from tests.api.streams import Stream, progress, start, streaming
from tests.db.scene import Scene
from tests.fixtures.waiting import eventually


async def test_a_job_is_followed_from_its_state_to_its_end(app: FastAPI, scene: Scene) -> None:
    job = await scene.job()
    async with streaming(app, f"/v1/jobs/{job}/events") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-cache", "no")
        first = await stream.job()
        assert set(first) == set(JobItemDocument.model_fields)
        assert (first["id"], first["status"]) == (str(job), "PENDING")
        worker = await start(scene, job)
        assert (await stream.job())["status"] == "RUNNING"
        await progress(scene, worker, job, 3)
        assert (await stream.job())["progress"]["done"] == 3
        await scene.finish("fail", worker, (job, 1))
        failed = await stream.job()
        assert (failed["status"], failed["error"]["message"]) == ("RETRYING", "m")
        await scene.claim(worker, job)
        await stream.until("RUNNING")
        await scene.finish("succeed", worker, (job, 2))
        assert (await stream.until("SUCCESS"))["finished_at"] is not None
        assert (await stream.next()).data == {"id": str(job), "status": "SUCCESS"}
        await stream.over()
        assert stream.ended
        assert stream.text.startswith("retry: 3000\n\n")
        again = Stream(app, f"/v1/jobs/{job}/events", stream.last_id)
        await again.over()
        assert (again.status, again.text) == (204, "")


async def test_a_final_job_is_told_once_and_a_replayed_one_again(app: FastAPI, scene: Scene) -> None:
    job = await scene.job("FAILED")
    path = f"/v1/jobs/{job}/events"
    async with streaming(app, path) as stream:
        state, end = await stream.next(), await stream.next()
        assert (state.name, state.data["status"], end.name) == ("job", "FAILED", "end")
    async with streaming(app, path, state.id) as stream:
        assert (await stream.next()).name == "end", "the end was lost, not the state"
    async with scene.database.begin() as link:
        await jobs.replay(link, "default", [job])
    async with streaming(app, path, end.id) as stream:
        assert (await stream.job())["status"] == "PENDING"


async def test_whoever_comes_again_is_told_what_has_changed_and_nothing_else(app: FastAPI, scene: Scene) -> None:
    job = await scene.job()
    path = f"/v1/jobs/{job}/events"
    async with streaming(app, path) as stream:
        await stream.job()
        left = stream.last_id
    await start(scene, job)
    async with streaming(app, path, left) as stream:
        assert (await stream.job())["status"] == "RUNNING"
        left = stream.last_id
    async with streaming(app, path, left) as same, streaming(app, path, "what is this") as strange:
        assert (await strange.job())["status"] == "RUNNING"
        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [job], "no more")
        assert (await same.job())["cancel_requested_at"] is not None, "the first it hears is the change"


async def test_progress_is_told_at_most_four_times_a_second(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.job_feed.LOOK_SECONDS", 0.02)  # as news of other jobs could have it
    job = await scene.job()
    worker = await start(scene, job)
    async with streaming(app, f"/v1/jobs/{job}/events") as stream:
        began, done = time.monotonic(), 0
        while time.monotonic() - began < 1.0:
            done += 1
            await progress(scene, worker, job, done)
        assert done > 10
        events = list(stream.events)
        assert len(events) >= 3
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(events)]
        assert min(gaps) >= 0.2, gaps
        told = [event.data["progress"]["done"] for event in events if event.data["progress"]]
        assert told == sorted(told)
        await scene.finish("succeed", worker, (job, 1))
        assert (await stream.until("SUCCESS"))["progress"]["done"] == done, "the last is not lost"


async def test_a_job_that_is_not_there_or_anothers_is_not_found(api: httpx.AsyncClient, scene: Scene) -> None:
    foreign = await scene.job(tenant="other")
    for job in (uuid4(), foreign):
        problem(await api.get(f"/v1/jobs/{job}/events"), "not-found", 404)
    problem(await api.get(f"/v1/jobs/{foreign}/events?wait=1"), "validation-failed", 422)


async def test_a_job_that_is_deleted_ends_its_stream(app: FastAPI, scene: Scene) -> None:
    job = await scene.job("WAITING")
    async with streaming(app, f"/v1/jobs/{job}/events") as stream:
        await stream.job()
        await scene.ask("DELETE FROM errander.jobs WHERE id = $1", job)
        assert (await stream.next()).name == "end"
        await stream.over()


async def test_a_slow_reader_of_a_job_gets_the_newest_state(app: FastAPI, scene: Scene) -> None:
    job = await scene.job()
    worker = await start(scene, job)
    async with (
        streaming(app, f"/v1/jobs/{job}/events") as slow,
        streaming(app, f"/v1/jobs/{job}/events") as quick,
    ):
        await slow.job()
        await quick.job()
        slow.stall()
        for done in range(1, 4):
            await progress(scene, worker, job, done)
            assert (await quick.job())["progress"]["done"] == done
        slow.go_on()
        seen = [(await slow.job())["progress"]["done"]]
        while seen[-1] != 3:
            seen.append((await slow.job())["progress"]["done"])
        assert len(seen) <= 2, "the one that it was about to be sent, and the newest"


class Counted:
    """Counts the statements of the application, and the rows they brought."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.rows: list[int] = []
        real = Link.fetch

        async def fetch(link: Link, name: str, /, **binds: Any) -> Any:
            self.names.append(name)
            found = await real(link, name, **binds)
            self.rows.append(len(found))
            return found

        monkeypatch.setattr(Link, "fetch", fetch)


async def test_two_hundred_clients_of_a_job_cost_one_query_a_look(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await scene.job()
    worker = await start(scene, job)
    streams = [Stream(app, f"/v1/jobs/{job}/events") for _ in range(200)]
    for stream in streams:
        await stream.job()
    counted = Counted(monkeypatch)
    began = time.monotonic()
    await progress(scene, worker, job, 1)
    for stream in streams:
        assert (await stream.job())["progress"]["done"] == 1
    looks = counted.names.count("job_states")
    assert 1 <= looks <= 2 + (time.monotonic() - began) / 0.25
    assert set(counted.names) == {"progress", "job_states"}
    await asyncio.gather(*(stream.leave() for stream in streams))


async def test_nothing_is_asked_while_nobody_listens(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await scene.job()
    async with streaming(app, f"/v1/jobs/{job}/events"), streaming(app, "/v1/events"):
        pass
    counted = Counted(monkeypatch)
    async with streaming(app, f"/v1/jobs/{job}/events"):
        await eventually(lambda: len(counted.rows) >= 6, message="it looks while somebody watches")
        assert counted.rows[-2:] == [0, 0], "what has not changed is not read again"
    assert set(counted.names) == {"job_states"}
    counted.names.clear()
    turns = asyncio.get_running_loop().time() + 0.8  # three looks of one feed, two of the other
    await eventually(lambda: asyncio.get_running_loop().time() > turns)
    assert counted.names == []
