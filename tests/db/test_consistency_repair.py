"""Repairs: broken by hand, found, mended, clean, and then the job goes on as it should. A job that moved on is left."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from db import jobs, workers
from db.consistency import Limits, Look, look
from db.consistency_repair import BATCH, Mended, mend
from db.consistency_rules import RULES, Found
from db.consistency_sweep import WALKS, sweep
from db.engine import Database
from db.jobs import Edit
from tests.db.racing import waits_for_lock
from tests.db.scene import Scene
from tests.db.test_traffic import CONNECTIONS, judge, traffic_of

LIMITS = Limits(pause=0.0, examples=1000)

_SURPLUS_READY = (
    "INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at)"
    " SELECT id, tenant, pool, priority, task, run_at FROM errander.jobs WHERE id = $1"
)
_SURPLUS_LEASE = (
    "INSERT INTO errander.running (id, attempt, worker_id, pool, priority)"
    " SELECT id, 1, gen_random_uuid(), pool, priority FROM errander.jobs WHERE id = $1"
)

# Code → the job's status before, and what breaks it.
BREAKS: dict[str, tuple[str, str]] = {
    "ready-missing": ("PENDING", "DELETE FROM errander.ready WHERE id = $1"),
    "ready-surplus": ("RUNNING", _SURPLUS_READY),
    "ready-differs": (
        "PENDING",
        "UPDATE errander.ready SET pool = 'gone', run_at = run_at + interval '1 day' WHERE id = $1",
    ),
    "lease-missing": ("RUNNING", "DELETE FROM errander.running WHERE id = $1"),
    "lease-surplus": ("PENDING", _SURPLUS_LEASE),
    "lease-differs": (
        "RUNNING",
        "UPDATE errander.running SET worker_id = gen_random_uuid(), attempt = 9 WHERE id = $1",
    ),
}


async def broken(scene: Scene, code: str) -> tuple[UUID, UUID, Look]:
    """A worker, a job of which one rule is broken, and the look that found it."""
    worker = await scene.worker()
    status, breaking = BREAKS[code]
    job = await scene.job(status, worker=worker if status == "RUNNING" else None)
    await scene.ask(breaking, job)
    seen = await look(scene.database, LIMITS)
    assert seen.found == {code: Found(code, 1, (str(job),))}
    return worker, job, seen


async def fails_and_succeeds(scene: Scene, worker: UUID, job: UUID) -> None:
    """The job's way from where it stands, by every table: it fails once, is started again and ends."""
    if await scene.status(job) != "RUNNING":
        assert [won.id for won in (await scene.claim_head(worker)).jobs] == [job]
    number = (await scene.row(job))["attempt"]
    assert len(await scene.finish("fail", worker, (job, number))) == 1
    assert [won.attempt for won in await scene.claim(worker, job)] == [number + 1]
    assert len(await scene.finish("succeed", worker, (job, number + 1))) == 1
    assert await scene.status(job) == "SUCCESS"
    await scene.check()


def test_every_rule_that_claims_to_be_repairable_is_repaired_here() -> None:
    assert set(BREAKS) == {code for code, rule in RULES.items() if rule.repairable}


@pytest.mark.parametrize("code", sorted(BREAKS))
async def test_a_repair_makes_it_clean_and_the_job_goes_on_to_its_end(scene: Scene, code: str) -> None:
    worker, job, seen = await broken(scene, code)
    before = await scene.row(job)
    assert await mend(scene.database, seen.found.values()) == [Mended(code, job)]
    assert (await look(scene.database, LIMITS)).found == {}
    assert await scene.row(job) == before, "a repair changes no job"
    (event,) = await scene.history(job)
    assert (event["event"], event["by"], event["detail"], event["status"], event["attempt"]) == (
        *("repaired", "fsck", {"code": code}),
        *(before["status"], before["attempt"]),
    )
    assert await mend(scene.database, seen.found.values()) == [], "the second time there is nothing to do"
    await fails_and_succeeds(scene, worker, job)


@pytest.mark.parametrize("code", ["ready-missing", "lease-missing"])
async def test_unrepaired_nothing_would_ever_move_the_job(scene: Scene, code: str) -> None:
    worker, job, _ = await broken(scene, code)
    assert (await scene.claim_head(worker)).jobs == []
    await scene.ask("UPDATE errander.workers SET dead_at = now()")
    await workers.rescue(scene.link, [], n=10)
    assert await scene.status(job) == BREAKS[code][0]


async def test_a_lease_that_was_given_back_to_a_dead_worker_is_the_reapers(scene: Scene) -> None:
    worker, job, seen = await broken(scene, "lease-missing")
    await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE id = $1", worker)
    await mend(scene.database, seen.found.values())
    assert [taken.moved.id for taken in await workers.rescue(scene.link, [], n=10)] == [job]
    assert await scene.status(job) == "RETRYING"
    await scene.check()


async def test_a_lease_that_was_given_back_is_in_the_roll_call_of_its_worker(scene: Scene) -> None:
    worker, job, seen = await broken(scene, "lease-missing")
    assert await workers.roll_call(scene.link, worker) == []
    await mend(scene.database, seen.found.values())
    assert [held.id for held in await workers.roll_call(scene.link, worker)] == [job]


async def test_rows_of_jobs_that_are_gone_are_removed(scene: Scene) -> None:
    waiting, running = await scene.job(), await scene.job("RUNNING", worker=await scene.worker())
    await scene.ask("DELETE FROM errander.jobs")
    found = (await look(scene.database, LIMITS)).found
    assert set(found) == {"ready-surplus", "lease-surplus"}
    mended = await mend(scene.database, found.values())
    assert {(one.code, one.id) for one in mended} == {("ready-surplus", waiting), ("lease-surplus", running)}
    assert (await look(scene.database, LIMITS)).found == {}, "and no history of them was made"


# -- a legal edge between the finding and the repair -----------------------------------------------------------------


async def _cancelled(scene: Scene, worker: UUID, job: UUID) -> None:
    async with scene.database.begin() as link:
        await jobs.cancel(link, "default", [job], None)


async def _edited(scene: Scene, worker: UUID, job: UUID) -> None:
    async with scene.database.begin() as link:
        await jobs.lock(link, "default", [job])
        row = await scene.row(job)
        await jobs.edit(link, "default", job, Edit(pool="other", run_at=row["run_at"]), ["pool"])


async def _succeeded(scene: Scene, worker: UUID, job: UUID) -> None:
    assert len(await scene.finish("succeed", worker, (job, 1))) == 1


async def _rescued(scene: Scene, worker: UUID, job: UUID) -> None:
    await scene.ask("UPDATE errander.running SET worker_id = $1, attempt = 1", worker)
    await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE id = $1", worker)
    assert len(await workers.rescue(scene.link, [], n=10)) == 1


async def _removed(scene: Scene, worker: UUID, job: UUID) -> None:
    await scene.ask("DELETE FROM errander.ready WHERE id = $1", job)
    await scene.ask("DELETE FROM errander.running WHERE id = $1 AND attempt = 1", job)


async def _gave_way(scene: Scene, worker: UUID, job: UUID) -> None:
    await scene.ask("DELETE FROM errander.ready WHERE id = $1", job)
    assert len(await scene.finish("snooze", worker, (job, 1))) == 1


MEANWHILE: list[tuple[str, Callable[[Scene, UUID, UUID], Awaitable[None]]]] = [
    ("ready-missing", _cancelled),
    ("ready-surplus", _gave_way),
    ("ready-differs", _cancelled),
    ("ready-differs", _edited),
    ("lease-missing", _succeeded),
    ("lease-surplus", _removed),
    ("lease-differs", _succeeded),
    ("lease-differs", _rescued),
]


@pytest.mark.parametrize(("code", "edge"), MEANWHILE)
async def test_a_job_that_moved_on_since_it_was_found_is_left_as_it_is(
    scene: Scene, code: str, edge: Callable[[Scene, UUID, UUID], Awaitable[None]]
) -> None:
    worker, job, seen = await broken(scene, code)
    await edge(scene, worker, job)
    before = await _everything(scene)
    assert await mend(scene.database, seen.found.values()) == []
    assert await _everything(scene) == before


async def _everything(scene: Scene) -> list[Any]:
    tables = ("jobs", "ready", "running", "history")
    return [await scene.ask(f"SELECT * FROM errander.{table} ORDER BY 1") for table in tables]


async def test_a_job_that_is_being_moved_is_waited_for_and_judged_as_it_stands_then(scene: Scene) -> None:
    worker, job, seen = await broken(scene, "lease-missing")
    async with scene.database.begin() as link:
        assert len(await scene.finish("fail", worker, (job, 1), link=link)) == 1
        mending = asyncio.create_task(mend(scene.database, seen.found.values()))
        await waits_for_lock(scene, mending)
    assert await mending == [], "a lease for a job that waits again would have been wrong"
    await scene.check()


async def test_a_claim_that_waits_for_its_commit_is_not_undone(scene: Scene) -> None:
    worker, job = await scene.worker(), await scene.job()
    found = [Found("ready-missing", 1, (str(job),))]
    async with scene.database.begin() as link:
        await scene.claim(worker, job, link=link)
        mending = asyncio.create_task(mend(scene.database, found))
        await waits_for_lock(scene, mending)
    assert await mending == []
    assert await scene.status(job) == "RUNNING"
    await scene.check()


async def test_a_job_that_is_held_for_long_is_left_and_its_neighbours_are_mended(scene: Scene) -> None:
    made = [await scene.job() for _ in range(7)]
    await scene.ask("DELETE FROM errander.ready")
    seen = await look(scene.database, LIMITS)
    # what the role says is two seconds a try, and a test has no time for that
    await scene.link.executor.execute(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET lock_timeout = %L',"
        " current_database(), '50ms'); END $$"
    )
    async with scene.database.begin() as other, await Database.open(scene.database.dsn) as impatient:
        await other.fetch("consistency_lock", ids=[made[3]])
        mended = await mend(impatient, seen.found.values())
    assert [one.id for one in mended] == [*made[:3], *made[4:]]
    assert (await look(scene.database, LIMITS)).found["ready-missing"].examples == (str(made[3]),)


async def test_amid_any_traffic_a_repair_of_everything_finds_nothing_to_do(scene: Scene) -> None:
    traffic = await traffic_of(scene, 21)
    over = asyncio.Event()
    repairs = 0

    async def keep_mending() -> None:
        nonlocal repairs
        while not over.is_set():
            names = tuple(str(job) for job in traffic.some(150))
            assert await mend(scene.database, [Found(code, len(names), names) for code in BREAKS]) == []
            repairs += 1

    mending = asyncio.create_task(keep_mending())
    try:
        await asyncio.gather(*(traffic.act(60) for _ in range(CONNECTIONS - 2)))
    finally:
        over.set()
        await mending
    assert repairs > 3
    await judge(scene)
    (row,) = await scene.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0


# -- many ------------------------------------------------------------------------------------------------------------


async def test_a_repair_of_many_goes_in_batches_and_leaves_nothing(scene: Scene) -> None:
    made = [await scene.job() for _ in range(BATCH * 2 + 1)]
    await scene.ask("DELETE FROM errander.ready")
    seen = await look(scene.database, LIMITS)
    mended = await mend(scene.database, seen.found.values())
    assert [one.id for one in mended] == made
    assert (await look(scene.database, LIMITS)).found == {}


async def test_a_full_sweep_with_repair_mends_every_step(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.consistency_sweep.CHUNK", 10)
    for _ in range(35):
        await scene.job()
    kept = await scene.job("PENDING", failures=1, attempt=1)
    await scene.ask("DELETE FROM errander.ready")
    mended: list[Mended] = []

    async def repair(answer: Any) -> int:
        done = await mend(scene.database, answer.found)
        mended.extend(done)
        return len(done)

    left: set[str] = set()
    for walk in WALKS:
        left |= set((await sweep(scene.database, walk, LIMITS, mend=repair)).found)
    assert len(mended) == 36
    assert left == {"status-wrong", "attempt-wrong"}, "what cannot be mended is still told"
    assert await scene.status(kept) == "PENDING"


async def test_what_is_not_safe_to_mend_is_not_touched(scene: Scene) -> None:
    job = await scene.job("FAILED", attempt=1, failures=9, worker=uuid4())
    before = await _everything(scene)
    found = [Found(code, 1, (str(job),)) for code, rule in RULES.items() if not rule.repairable]
    assert await mend(scene.database, found) == []
    assert await _everything(scene) == before
