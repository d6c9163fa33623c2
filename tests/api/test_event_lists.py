"""Following the jobs that fit a filter: without a gap, and out of the sight of other tenants."""

import asyncio
import contextlib
import functools
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from uuid_utils.compat import uuid7

from db import changes, jobs
from db.changes import Mark
from db.engine import Link
from db.filters import JobFilter
from service.api.documents import JobItemDocument
from service.auth.principal import Principal
from service.auth.scopes import EVERYTHING
from service.live.hub import RESUMES, Live
from service.live.lines import mark_of, mark_text
from service.live.stream import EventStream
from tests.api.problems import problem
from tests.api.streams import start, streaming
from tests.db.scene import TASK, Scene
from tests.fixtures.waiting import eventually

MINE = Principal("key:mine", "default", EVERYTHING)
FOREIGN = Principal("key:foreign", "other", EVERYTHING)


pytestmark = pytest.mark.usefixtures("quick_looks")


@pytest.fixture
def live(app: FastAPI, api: httpx.AsyncClient) -> Live:
    """What the application follows jobs with."""
    found: Live = app.state.services.live
    return found


async def test_a_list_begins_with_the_newest_that_fit_and_goes_on_with_changes(app: FastAPI, scene: Scene) -> None:
    made = [await scene.job(task="mail.send") for _ in range(3)]
    await scene.job(task="other")
    async with streaming(app, "/v1/events?task=mail.*") as stream:
        assert [(await stream.job())["id"] for _ in made] == [str(job) for job in made]
        new = await scene.job(task="mail.later")
        await scene.job(task="other")
        worker = await scene.worker(tasks=["mail.send"])
        assert (await stream.job())["id"] == str(new)
        await scene.claim(worker, made[1], tasks=["mail.send"])
        state = await stream.job()
        assert (state["id"], state["status"]) == (str(made[1]), "RUNNING")
        assert set(state) == set(JobItemDocument.model_fields)
        await scene.finish("succeed", worker, (made[1], 1))
        assert (await stream.job())["status"] == "SUCCESS"


async def test_each_look_begins_where_the_last_one_was(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins: list[datetime] = []
    real = Link.fetch

    async def fetch(link: Link, name: str, /, **binds: Any) -> Any:
        if name == "changed_jobs":
            begins.append(binds["since"])
        return await real(link, name, **binds)

    monkeypatch.setattr(Link, "fetch", fetch)
    async with streaming(app, "/v1/events"):
        await eventually(lambda: len(begins) >= 3)
    assert begins == sorted(set(begins))


async def test_a_job_that_leaves_the_filter_is_told_once_more(app: FastAPI, scene: Scene) -> None:
    job = await scene.job()
    async with streaming(app, "/v1/events?status=RUNNING") as stream:
        worker = await start(scene, job)
        assert (await stream.job())["status"] == "RUNNING"
        await scene.finish("fail", worker, (job, 1))
        assert (await stream.job())["status"] == "RETRYING"
        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [job], None)
        other = await scene.job()
        await scene.claim(worker, other)
        assert (await stream.job())["id"] == str(other), "the cancel of the one that left is not told"


async def test_a_list_begins_with_fifty(app: FastAPI, scene: Scene) -> None:
    made = [str(await scene.job()) for _ in range(60)]
    async with streaming(app, "/v1/events") as stream:
        assert [(await stream.job())["id"] for _ in range(50)] == made[10:]


async def test_a_list_goes_on_where_it_was_without_a_gap(app: FastAPI, scene: Scene) -> None:
    job, quiet = await scene.job(), await scene.job()
    path = "/v1/events?status=PENDING"
    async with streaming(app, path) as stream:
        await stream.job()
        await stream.job()
        await eventually(lambda: mark_of(stream.last_id) is not None)
        left = stream.last_id
    worker = await start(scene, job)
    await scene.finish("succeed", worker, (job, 1))
    new = await scene.job()
    await scene.ask("UPDATE errander.jobs SET created_at = created_at - interval '1 hour' WHERE id = $1", quiet)
    async with streaming(app, path, left) as stream:
        found: dict[str, str] = {}
        while len(found) < 2:
            state = await stream.job()
            found[state["id"]] = state["status"]
        assert found == {str(job): "SUCCESS", str(new): "PENDING"}, "it left the filter while nobody listened"
        late = await scene.job()
        assert (await stream.job())["id"] == str(late)


async def test_few_of_those_who_come_back_at_once_look_at_the_same_time(
    live: Live, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Mark(*await changes.mark(scene.link))
    job = await scene.job()
    looking, go_on, look = 0, asyncio.Event(), changes.since

    async def since(link: Link, mark: Mark, tenants: Sequence[str]) -> changes.Changes:
        nonlocal looking
        if mark == left:
            looking += 1
            await go_on.wait()
        return await look(link, mark, tenants)

    monkeypatch.setattr(changes, "since", since)
    async with contextlib.AsyncExitStack() as stack:
        coming = [
            asyncio.create_task(
                stack.enter_async_context(streaming(EventStream(live.follow_jobs(MINE, JobFilter(), mark_text(left)))))
            )
            for _ in range(6)
        ]
        await eventually(lambda: len(live._open.get(MINE, ())) == 6)
        await scene.job()
        assert looking == RESUMES
        go_on.set()
        for stream in await asyncio.gather(*coming):
            assert (await stream.job())["id"] == str(job)
    assert looking == 6


async def test_another_process_goes_on_from_the_place_of_the_first(app: FastAPI, scene: Scene) -> None:
    """One that begins to look now, in an installation with a history."""
    await scene.ask(
        "INSERT INTO errander.history (job_id, event, status, attempt)"
        " SELECT gen_random_uuid(), 'failed', 'RETRYING', 1 FROM generate_series(1, 8000)"
    )
    job = await scene.job()
    at, top = await changes.mark(scene.link)
    async with streaming(app, "/v1/events", mark_text(Mark(at, top))) as stream:
        assert (await stream.job())["id"] == str(job)
    async with streaming(app, "/v1/events", mark_text(Mark(at, top + 1))) as stream:
        assert (await stream.next()).name == "reset", "the history of another database"
    async with streaming(app, "/v1/events", mark_text(Mark(at - timedelta(minutes=6), top))) as stream:
        assert (await stream.next()).name == "reset", "too long ago"


async def test_a_place_may_be_later_than_a_process_has_looked(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with streaming(app, "/v1/events"):
        monkeypatch.setattr("service.live.list_feed.LOOK_SECONDS", 60.0)
        mark = app.state.services.live.lists._mark
        await eventually(lambda: app.state.services.live.lists._mark is not mark)
        left = Mark(*await changes.mark(scene.link))
        job = await scene.job()
        async with streaming(app, "/v1/events", mark_text(left)) as stream:
            assert (await stream.job())["id"] == str(job)


async def test_a_head_has_the_headers_of_a_stream_and_ends(api: httpx.AsyncClient, scene: Scene) -> None:
    job = await scene.job()
    for path in ("/v1/events", f"/v1/jobs/{job}/events"):
        answer = await asyncio.wait_for(api.head(path), 5)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("last_id", ["nonsense", "1-1", "99999999999999999-0", "17000000000000000-999999999999999999"])
async def test_an_unknown_place_is_a_reset_and_a_new_begin(app: FastAPI, scene: Scene, last_id: str) -> None:
    job = await scene.job()
    async with streaming(app, "/v1/events", last_id) as stream:
        assert (await stream.next()).name == "reset"
        assert (await stream.job())["id"] == str(job)


async def test_more_changes_than_are_sent_are_a_reset(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.list_feed.MOST", 5)
    monkeypatch.setattr("service.live.hub.MOST", 5)
    async with streaming(app, "/v1/events?tag=x") as stream, streaming(app, "/v1/events?tag=y") as other:
        async with scene.database.begin() as link:
            await _many(link, 6, "x")
            await _many(link, 1, "y")
        assert (await stream.next()).name == "reset"
        assert (await other.job())["tags"] == ["y"], "the others are not concerned"
        left = stream.last_id
        async with scene.database.begin() as link:
            await _many(link, 6, "x")
    async with streaming(app, "/v1/events?tag=x", left) as stream:
        assert (await stream.next()).name == "reset", "and so it is for whoever comes back"
        assert (await stream.job())["tags"] == ["x"]


async def test_what_one_tenant_does_at_once_is_no_reset_for_another(
    scene: Scene, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "since", functools.partial(changes.since, look=5))
    async with (
        streaming(EventStream(live.follow_jobs(MINE, JobFilter(), None))) as mine,
        streaming(EventStream(live.follow_jobs(FOREIGN, JobFilter(), None))) as foreign,
    ):
        await eventually(lambda: len(live.lists._groups) == 2)
        async with scene.database.begin() as link:
            await _many(link, 6, "x", tenant="other")
            await _many(link, 1, "mine")
        assert (await foreign.next()).name == "reset"
        assert (await mine.job())["tags"] == ["mine"]


async def _many(link: Link, count: int, tag: str, *, tenant: str = "default") -> None:
    """Jobs that appear at once."""
    new = [
        jobs.NewJob(uuid7(), TASK, "default", "default", "{}", 3, 3, 60.0, "{}", tags=json.dumps([tag]))
        for _ in range(count)
    ]
    await jobs.insert(link, tenant, new)


async def test_a_slow_reader_of_a_list_is_told_to_list_again(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.live.outbox.MOST", 3)
    async with streaming(app, "/v1/events") as slow, streaming(app, "/v1/events") as quick:
        await eventually(lambda: len(app.state.services.live.lists._groups) == 1)
        slow.stall()
        for _ in range(6):
            made = await scene.job()
            assert (await quick.job())["id"] == str(made)
        slow.go_on()
        while (event := await slow.next()).name != "reset":
            pass
        last = await scene.job()
        assert (await slow.job())["id"] == str(last), event


async def test_tenants_see_their_own_jobs_only(scene: Scene, live: Live) -> None:
    mine, foreign = await scene.job(), await scene.job(tenant="other")
    everything = JobFilter()
    async with (
        streaming(EventStream(live.follow_jobs(MINE, everything, None))) as one,
        streaming(EventStream(live.follow_jobs(FOREIGN, everything, None))) as two,
        streaming(EventStream(live.follow_job(FOREIGN, foreign, None))) as three,
    ):
        assert (await one.job())["id"] == str(mine)
        for stream in (two, three):
            assert (await stream.job())["id"] == str(foreign)
        async with scene.database.begin() as link:
            await jobs.cancel(link, "default", [mine], None)
        assert (await one.job())["status"] == "CANCELLED"
        async with scene.database.begin() as link:
            await jobs.cancel(link, "other", [foreign], None)
        for stream in (two, three):
            assert (await stream.job())["status"] == "CANCELLED"
        assert one.events == []
    left = one.last_id
    async with streaming(EventStream(live.follow_jobs(FOREIGN, everything, left))) as two:
        assert (await two.job())["id"] == str(foreign), "a place that somebody else was told opens nothing"


async def test_an_unknown_filter_is_refused(api: httpx.AsyncClient) -> None:
    problem(await api.get("/v1/events?state=RUNNING"), "validation-failed", 422)
    problem(await api.get("/v1/events?limit=5"), "validation-failed", 422)
    problem(await api.get("/v1/events?status=RUNS"), "validation-failed", 422)
