"""Every change of a job is found by whoever looks, without anybody telling."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from db import changes, jobs, workers
from db.changes import OVERLAP, Known, Mark, Marks
from db.filters import JobFilter
from db.lifecycle import JobStatus
from db.reading import Reader
from tests.db.scene import TASK, Scene

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = "default"


class Watcher:
    """Looks again and again, as the feed does."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.marks = Marks()
        self.mark = Mark(NOW, 0)
        self.seen: dict[UUID, str] = {}

    async def begin(self) -> None:
        self.mark = self.marks.next(*await changes.mark(self.scene.link))
        await self.look()

    async def look(self) -> set[UUID]:
        """What has changed since the last look."""
        found = await changes.since(self.scene.link, self.mark, [TENANT])
        assert not found.is_cut(TENANT)
        fresh = {job_id for job_id, version in found.of(TENANT).items() if self.seen.get(job_id) != version}
        self.seen = dict(found.of(TENANT))
        self.mark = self.marks.next(found.at, found.top)
        return fresh


@pytest.fixture
async def watcher(scene: Scene) -> Watcher:
    """One that has looked already."""
    made = Watcher(scene)
    await made.begin()
    return made


async def test_every_edge_of_a_jobs_life_is_found_once(scene: Scene, watcher: Watcher) -> None:
    worker = await scene.worker()
    job = await scene.job()
    assert await watcher.look() == {job}
    assert await watcher.look() == set()

    numbers = itertools.count(1)
    for ending in ("fail", "crash", "snooze", "give_back", "succeed"):
        await scene.ask("UPDATE errander.jobs SET run_at = now(), max_crashes = 9, max_attempts = 9 WHERE id = $1", job)
        await scene.ask("UPDATE errander.ready SET run_at = now() WHERE id = $1", job)
        await watcher.look()
        number = next(numbers)
        assert await scene.claim(worker, job)
        assert await watcher.look() == {job}, f"the claim before {ending}"
        await scene.finish("progress", worker, (job, number))
        assert await watcher.look() == {job}, f"progress before {ending}"
        assert await scene.finish(ending, worker, (job, number))
        assert await watcher.look() == {job}, ending
        assert await watcher.look() == set()


async def test_what_clients_do_to_a_job_is_found(scene: Scene, watcher: Watcher) -> None:
    waiting, running = await scene.job(run_in=60), await scene.job("RUNNING", worker=await scene.worker())
    failed = await scene.job("FAILED", finished_ago=3600.0)
    await watcher.look()
    async with scene.database.begin() as link:
        await jobs.run_now(link, TENANT, waiting)
    assert await watcher.look() == {waiting}
    async with scene.database.begin() as link:
        await jobs.lock(link, TENANT, [waiting])
        await jobs.edit(link, TENANT, waiting, jobs.Edit(priority="high"), ["priority"])
    assert await watcher.look() == {waiting}
    async with scene.database.begin() as link:
        await jobs.cancel(link, TENANT, [waiting, running], "why")
    assert await watcher.look() == {waiting, running}
    async with scene.database.begin() as link:
        await jobs.replay(link, TENANT, [failed])
    assert await watcher.look() == {failed}
    assert await watcher.look() == set()


async def test_what_the_reaper_does_to_a_job_is_found(scene: Scene, watcher: Watcher) -> None:
    worker = await scene.worker(beat_ago=100.0)
    lost = await scene.job("RUNNING", worker=worker)
    late = await scene.job(expires_in=-0.1)
    await watcher.look()
    await workers.rescue(scene.link, [await scene.beat_of(worker)], n=10)
    await workers.expire(scene.link, n=10)
    assert await watcher.look() == {lost, late}


async def test_what_is_committed_late_is_found(scene: Scene, watcher: Watcher) -> None:
    worker = await scene.worker()
    job = await scene.job()
    await watcher.look()
    begun, committing = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        async with scene.database.begin() as link:
            assert await scene.claim(worker, job, link=link)
            await scene.finish("fail", worker, (job, 1), link=link)
            begun.set()
            await committing.wait()

    writing = asyncio.create_task(slowly())
    await begun.wait()
    other = await scene.job()
    assert await watcher.look() == {other}, "the mark has passed the transaction's begin and its row of history"
    committing.set()
    await writing
    assert await watcher.look() == {job}


async def test_a_look_says_when_it_saw_only_a_part(scene: Scene) -> None:
    mark = Mark((await changes.mark(scene.link))[0], 0)

    async def is_cut(**limits: int) -> bool:
        return (await changes.since(scene.link, mark, [TENANT], **limits)).is_cut(TENANT)

    for _ in range(4):
        await scene.job()
    assert not await is_cut(look=4)
    assert await is_cut(look=3)
    for _ in range(4):
        await scene.job("SUCCESS")
    await scene.ask("UPDATE errander.jobs SET created_at = now() - interval '1 hour'")
    assert await is_cut(look=3), "as many have ended"
    assert not await is_cut(look=4)
    assert await is_cut(deep=4), "and of nobody's all have been looked at"
    assert not await is_cut(deep=5)
    await scene.ask(
        "INSERT INTO errander.history (job_id, event, status, attempt)"
        " SELECT gen_random_uuid(), 'failed', 'RETRYING', 1 FROM generate_series(1, 9)"
    )
    assert await is_cut(deep=9), "so many were noted"
    assert not await is_cut(deep=10)


async def test_many_changes_of_one_tenant_hide_nothing_of_anothers(scene: Scene) -> None:
    mark = Mark(*await changes.mark(scene.link))
    mine = {await scene.job(), await scene.job("SUCCESS")}
    for _ in range(6):
        await scene.job(tenant="busy")
    for _ in range(6):
        await scene.job("FAILED", tenant="busy")
    found = await changes.since(scene.link, mark, [TENANT, "busy"], look=5)
    assert set(found.of(TENANT)) == mine
    assert (found.is_cut(TENANT), found.is_cut("busy"), found.of("busy")) == (False, True, {})
    alone = await changes.since(scene.link, mark, [TENANT], look=5)
    assert (set(alone.jobs), alone.crowded) == ({TENANT}, frozenset())


async def test_states_are_of_the_tenant_and_of_other_versions_only(scene: Scene) -> None:
    mine, other = await scene.job(), await scene.job(tenant="other")
    asked = [Known(TENANT, mine), Known(TENANT, other), Known("other", other)]
    found = {(one.tenant, one.id): one for one in await changes.states(scene.link, asked)}
    assert found[TENANT, other].record is None
    assert [found[key].record is not None for key in ((TENANT, mine), ("other", other))] == [True, True]
    known = [Known(TENANT, mine, found[TENANT, mine].version), Known("other", other, "1")]
    assert [one.id for one in await changes.states(scene.link, known)] == [other]


async def test_a_state_has_no_payload_and_the_last_error_only(scene: Scene) -> None:
    errors = '[{"attempt": 1, "message": "first"}, {"attempt": 2, "message": "last"}]'
    job = await scene.job("FAILED", payload='{"secret": 1}', errors=errors)
    (state,) = await changes.states(scene.link, [Known(TENANT, job)])
    assert state.record is not None
    assert (state.record.payload, state.record.result) == (None, None)
    assert state.record.errors == '[{"attempt": 2, "message": "last"}]'


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (JobFilter(), ["waits", "runs", "ended"]),
        (JobFilter(statuses=frozenset({JobStatus.PENDING})), ["waits"]),
        (JobFilter(statuses=frozenset({JobStatus.RUNNING})), ["runs"]),
        (JobFilter(task="report.*", metadata=(("customer", "7"),)), ["ended"]),
        (JobFilter(payload=(("n", "1"),)), ["runs"]),
        (JobFilter(nothing=True), []),
    ],
)
async def test_filters_are_those_of_the_list(scene: Scene, wanted: JobFilter, fits: list[str]) -> None:
    made = {
        "waits": await scene.job(),
        "runs": await scene.job("RUNNING", worker=await scene.worker(), payload='{"n": 1}'),
        "ended": await scene.job("SUCCESS", metadata='{"customer": 7}', task=TASK),
        "foreign": await scene.job(tenant="other", payload='{"n": 1}', metadata='{"customer": 7}'),
    }
    await scene.job()  # was not asked for
    found = await changes.fitting(Reader(scene.database), TENANT, wanted, sorted(made.values()))
    assert found == {made[name] for name in fits}


def test_a_mark_names_a_row_of_the_history_that_had_time_to_appear() -> None:
    marks = Marks()
    assert marks.next(NOW, 9_000).history == 4_000
    assert marks.next(NOW + timedelta(seconds=1), 9_010).history == 4_000
    assert marks.next(NOW + OVERLAP, 9_050).history == 9_000
    assert marks.next(NOW + OVERLAP + timedelta(seconds=1.5), 9_060).history == 9_010
    assert marks.next(NOW + timedelta(hours=1), 9_070).history == 9_060
    assert Marks().next(NOW, 10) == Mark(NOW, 0)
