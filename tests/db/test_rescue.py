"""The reaper's statements: death is a column, and rescue, beat and finish exclude each other."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from db import workers
from db.workers import Beat, Rescued
from errander import parse_backoff
from tests.db.racing import AFTER_DEAD, Gate, waits_for_lock
from tests.db.scene import LEASE, NO_WAIT, Scene
from tests.fixtures.waiting import eventually


async def rescue(scene: Scene, *silent: Beat, n: int = 1000) -> dict[UUID, Rescued]:
    return {job.moved.id: job for job in await workers.rescue(scene.link, silent, n=n)}


async def beats(scene: Scene, worker: UUID) -> bool | None:
    return await workers.beat(scene.link, worker, running=0, slots=10)


async def test_a_silent_worker_is_declared_dead_and_its_jobs_wait_again(scene: Scene) -> None:
    silent, live = await scene.worker(beat_ago=60), await scene.worker()
    lost, kept = await scene.job("RUNNING", worker=silent), await scene.job("RUNNING", worker=live)
    beat = await scene.beat_of(silent)

    rescued = await rescue(scene, beat)

    assert list(rescued) == [lost]
    assert (rescued[lost].worker, rescued[lost].attempt, rescued[lost].free) == (silent, 1, False)
    row = await scene.row(lost)
    assert (row["status"], row["crashes"], row["failures"]) == ("RETRYING", 1, 0)
    assert [error["kind"] for error in await scene.errors(lost)] == ["lost"]
    assert await scene.status(kept) == "RUNNING"
    assert await beats(scene, silent) is None, "its lease is lost"
    (entry,) = await scene.history(lost)
    assert (entry["event"], entry["attempt"], entry["detail"]["charged"]) == ("rescued", 1, True)
    await scene.check()


async def test_jobs_of_a_worker_that_has_long_been_dead_or_is_missing_are_taken_too(scene: Scene) -> None:
    dead = await scene.worker(dead=True)
    late = await scene.job("RUNNING", worker=dead)
    orphan = await scene.job("RUNNING", worker=uuid4())
    assert set(await rescue(scene)) == {late, orphan}
    await scene.check()


async def test_a_worker_that_has_beaten_since_it_was_observed_is_not_touched(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=60)
    job = await scene.job("RUNNING", worker=worker)
    seen = await scene.beat_of(worker)
    assert await beats(scene, worker) is False

    assert await rescue(scene, seen) == {}
    assert await scene.status(job) == "RUNNING"
    assert await beats(scene, worker) is False


async def test_when_the_beat_is_first_the_reaper_waits_and_takes_nothing(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=60)
    jobs = [await scene.job("RUNNING", worker=worker) for _ in range(3)]
    seen = await scene.beat_of(worker)
    async with scene.database.begin() as link:
        assert await workers.beat(link, worker, running=3, slots=10) is False
        reaping = asyncio.create_task(rescue(scene, seen))
        await waits_for_lock(scene, reaping)
    assert await reaping == {}
    assert [await scene.status(job) for job in jobs] == ["RUNNING"] * 3


async def test_when_the_reaper_is_first_the_beat_waits_and_finds_its_lease_lost(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=60)
    job = await scene.job("RUNNING", worker=worker)
    seen = await scene.beat_of(worker)
    async with scene.database.begin() as link:
        assert len(await workers.rescue(link, [seen], n=10)) == 1
        beating = asyncio.create_task(beats(scene, worker))
        await waits_for_lock(scene, beating)
    assert await beating is None
    assert await scene.status(job) == "RETRYING"


async def test_a_claim_that_commits_after_the_reapers_snapshot_is_found_at_the_next_tick(
    scene: Scene, gate: Gate
) -> None:
    worker = await scene.worker(beat_ago=10)  # still allowed to claim: silence is observed, not computed
    first, late = await scene.job("RUNNING", worker=worker), await scene.job()
    reaping = await gate.start("rescue", rescue(scene, await scene.beat_of(worker)))
    assert len(await scene.claim(worker, late)) == 1
    gate.open()

    assert set(await reaping) == {first}
    assert await scene.status(late) == "RUNNING"
    assert set(await rescue(scene)) == {late}
    await scene.check()


async def test_a_finish_that_commits_after_the_reapers_snapshot_stands(scene: Scene, gate: Gate) -> None:
    worker = await scene.worker(beat_ago=60)
    done, retried, lost = [await scene.job("RUNNING", worker=worker) for _ in range(3)]
    reaping = await gate.start("rescue", rescue(scene, await scene.beat_of(worker)))
    await scene.finish("succeed", worker, (done, 1))
    await scene.finish("fail", worker, (retried, 1))
    gate.open()

    assert set(await reaping) == {lost}
    assert await scene.status(done) == "SUCCESS"
    assert (await scene.row(retried))["crashes"] == 0
    await scene.check()


async def test_a_finish_after_the_rescue_changes_nothing(scene: Scene) -> None:
    worker, other = await scene.worker(beat_ago=60), await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    await rescue(scene, await scene.beat_of(worker))
    assert await scene.finish("succeed", worker, (job, 1)) == []
    await scene.claim(other, job)
    assert await scene.finish("succeed", worker, (job, 1)) == []
    assert await scene.finish("succeed", worker, (job, 2)) == []
    assert await scene.status(job) == "RUNNING"
    assert len(await scene.finish("succeed", other, (job, 2))) == 1


async def test_a_job_that_a_living_worker_has_won_meanwhile_is_not_taken_from_it(scene: Scene, gate: Gate) -> None:
    dead, live = await scene.worker(dead=True), await scene.worker()
    job = await scene.job("RUNNING", worker=dead)
    reaping = await gate.start("rescue", rescue(scene))
    await scene.finish("fail", dead, (job, 1))
    await scene.claim(live, job)
    gate.open()
    assert await reaping == {}
    assert (await scene.row(job))["worker_id"] == live
    await scene.check()


async def test_an_attempt_begun_while_its_worker_was_being_declared_dead_waits_for_the_next_tick(
    scene: Scene, gate: Gate
) -> None:
    # a stepped clock can make a beat look fresh that was observed as silent
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    reaping = await gate.start("rescue", rescue(scene, await scene.beat_of(worker)), condition=AFTER_DEAD)
    await scene.finish("fail", worker, (job, 1))
    assert [claimed.attempt for claimed in await scene.claim(worker, job)] == [2]
    gate.open()
    assert await reaping == {}
    await scene.check()
    assert set(await rescue(scene)) == {job}
    await scene.check()


async def test_a_thawed_worker_starts_nothing_that_it_had_ready_to_send(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=31)
    job = await scene.job()
    assert await scene.claim(worker, job, lease=LEASE) == []
    assert await scene.status(job) == "PENDING"


async def test_a_locked_row_is_skipped_and_taken_at_the_next_tick(scene: Scene) -> None:
    worker = await scene.worker(dead=True)
    locked, free = [await scene.job("RUNNING", worker=worker) for _ in range(2)]
    async with scene.database.begin() as link:
        await link.fetch("lock_jobs", ids=[locked], tenant="default")
        assert set(await asyncio.wait_for(rescue(scene), 1.5)) == {free}
    assert set(await rescue(scene)) == {locked}


async def test_it_is_bounded_and_goes_on_where_it_stopped(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=60)
    jobs = {await scene.job("RUNNING", worker=worker) for _ in range(5)}
    first = await rescue(scene, await scene.beat_of(worker), n=2)
    assert len(first) == 2
    assert set(first) | set(await rescue(scene, n=2)) | set(await rescue(scene, n=2)) == jobs
    assert await rescue(scene, n=2) == {}


async def test_a_second_death_does_not_move_the_hour_of_the_first(scene: Scene) -> None:
    worker = await scene.worker(beat_ago=60)
    seen = await scene.beat_of(worker)
    await rescue(scene, seen)
    (died,) = await scene.ask("SELECT dead_at FROM errander.workers")
    await rescue(scene, seen)
    assert await scene.ask("SELECT dead_at FROM errander.workers") == [died]


# -- what a rescue costs ----------------------------------------------------------------------------------------------


async def dies_with(scene: Scene, **columns: Any) -> UUID:
    """A job whose worker dies."""
    worker = await scene.worker(dead=True)
    job = await scene.job("RUNNING", worker=worker, **columns)
    assert set(await rescue(scene)) == {job}
    await scene.check()
    return job


async def test_a_cancel_request_beats_a_rescue(scene: Scene) -> None:
    job = await dies_with(scene, cancel_asked=True)
    row = await scene.row(job)
    assert (row["status"], row["cancelled_by"]) == ("CANCELLED", "client")


async def test_a_job_that_may_not_run_twice_ends_failed(scene: Scene) -> None:
    job = await dies_with(scene, max_crashes=1)
    row = await scene.row(job)
    assert (row["status"], row["crashes"], [e["kind"] for e in await scene.errors(job)]) == ("FAILED", 1, ["lost"])


@pytest.mark.parametrize(
    ("crashes", "max_crashes", "isolated"), [(0, 3, False), (1, 3, False), (2, 3, True), (1, 2, True)]
)
async def test_the_death_around_an_isolated_job_is_free(
    scene: Scene, crashes: int, max_crashes: int, isolated: bool
) -> None:
    job = await dies_with(scene, attempt=3, crashes=crashes, max_crashes=max_crashes)
    row = await scene.row(job)
    assert (row["status"], row["crashes"]) == ("RETRYING", crashes if isolated else crashes + 1)
    assert len(await scene.errors(job)) == (0 if isolated else 1)
    assert (await scene.history(job))[0]["detail"]["charged"] is not isolated


async def test_the_death_around_an_isolated_job_is_free_five_times_since_its_last_replay(scene: Scene) -> None:
    worker = await scene.worker(dead=True)
    job = await scene.job("RUNNING", worker=worker, attempt=3, crashes=2)
    for start in range(3, 9):
        (found,) = (await rescue(scene)).values()
        assert found.free is (start < 8)
        if start < 8:
            claimer = await scene.worker()
            await scene.claim(claimer, job)
            await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE id = $1", claimer)
    assert await scene.status(job) == "FAILED"

    async with scene.database.begin() as link:
        await link.fetch("replay", ids=[job], tenant="default", delay=0.0, payload=None, max_attempts=None, reason=None)
    await scene.ask("UPDATE errander.jobs SET crashes = 2, status = 'RETRYING' WHERE id = $1", job)
    claimer = await scene.worker()
    await scene.claim(claimer, job)
    await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE id = $1", claimer)
    assert (await rescue(scene))[job].free is True


@pytest.mark.parametrize(
    "backoff",
    [
        {"kind": "exponential", "base": 2.0, "factor": 3.0, "max": 100.0, "jitter": 0.0},
        {"kind": "exponential", "base": 5.0, "factor": 1000.0, "max": 300.0, "jitter": 0.0},
        {"kind": "linear", "base": 7.0, "max": 600.0, "jitter": 0.0},
        {"kind": "fixed", "base": 9.0, "jitter": 0.0},
    ],
    ids=lambda backoff: str(backoff["kind"]),
)
@pytest.mark.parametrize("crashes", [0, 1, 2, 70])
async def test_a_rescued_job_waits_as_its_backoff_says(scene: Scene, backoff: dict[str, Any], crashes: int) -> None:
    job = await dies_with(scene, attempt=crashes + 1, crashes=crashes, max_crashes=100, backoff=backoff)
    expected = parse_backoff(backoff).delay(crashes + 1, lambda: 0.0)
    assert expected - 1 < await scene.due_in(job) <= expected


async def test_rescued_jobs_are_spread_by_their_jitter(scene: Scene) -> None:
    worker = await scene.worker(dead=True)
    backoff = {"kind": "fixed", "base": 100.0, "jitter": 1.0}
    jobs = [await scene.job("RUNNING", worker=worker, backoff=backoff) for _ in range(20)]
    await rescue(scene)
    waits = [await scene.due_in(job) for job in jobs]
    assert max(waits) - min(waits) > 30
    assert -1 < min(waits) <= max(waits) <= 100


async def test_the_last_twenty_errors_are_kept(scene: Scene) -> None:
    errors = json.dumps([{"attempt": n} for n in range(1, 21)])
    job = await dies_with(scene, attempt=21, errors=errors, max_crashes=100)
    assert [error["attempt"] for error in await scene.errors(job)] == list(range(2, 22))


# -- expiry -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["PENDING", "RETRYING"])
async def test_a_waiting_job_past_its_time_is_cancelled(scene: Scene, status: str) -> None:
    late = await scene.job(status, expires_in=-1.0, failures=int(status == "RETRYING"), attempt=1)
    early, never = await scene.job(expires_in=60.0), await scene.job()
    assert [moved.id for moved in await workers.expire(scene.link, n=10)] == [late]
    row = await scene.row(late)
    assert (row["status"], row["cancelled_by"], row["finished_at"] is not None) == ("CANCELLED", "expired", True)
    assert {await scene.status(early), await scene.status(never)} == {"PENDING"}
    await scene.check()


@pytest.mark.parametrize("status", ["RUNNING", "SUCCESS", "FAILED"])
async def test_what_has_started_does_not_expire(scene: Scene, status: str) -> None:
    job = await scene.job(status, worker=await scene.worker(), expires_in=-1.0, attempt=1)
    assert await workers.expire(scene.link, n=10) == []
    assert await scene.status(job) == status


async def test_expiry_is_bounded_and_skips_what_is_locked(scene: Scene) -> None:
    jobs = [await scene.job(expires_in=-9.0 + n) for n in range(4)]
    async with scene.database.begin() as link:
        await link.fetch("lock_jobs", ids=[jobs[0]], tenant="default")
        found = await asyncio.wait_for(workers.expire(scene.link, n=2), 1.5)
        assert [moved.id for moved in found] == [jobs[1]]
    assert len(await workers.expire(scene.link, n=2)) == 2
    assert len(await workers.expire(scene.link, n=2)) == 1


async def test_an_expiry_that_was_moved_meanwhile_is_respected(scene: Scene, gate: Gate) -> None:
    job = await scene.job(expires_in=-1.0)
    expiring = await gate.start("expire", workers.expire(scene.link, n=10))
    await scene.ask("UPDATE errander.jobs SET expires_at = NULL WHERE id = $1", job)
    await scene.ask("UPDATE errander.ready SET expires_at = NULL WHERE id = $1", job)
    gate.open()
    assert await expiring == []
    await scene.check()


async def test_a_job_that_ran_and_failed_meanwhile_leaves_no_row_in_the_queue(scene: Scene, gate: Gate) -> None:
    worker = await scene.worker()
    job = await scene.job(expires_in=0.3, backoff=NO_WAIT)
    async with scene.database.begin() as link:  # its clock stands before the expiry
        await eventually(lambda: scene.ask("SELECT 1 FROM errander.ready WHERE expires_at <= now()"))
        expiring = await gate.start("expire", workers.expire(scene.link, n=10))
        assert len(await scene.claim(worker, job, link=link)) == 1
    await scene.finish("fail", worker, (job, 1))
    gate.open()
    await expiring
    await scene.check()
    await workers.expire(scene.link, n=10)
    assert await scene.status(job) == "CANCELLED"
    await scene.check()


@pytest.mark.parametrize(
    "backoff",
    [
        {},
        {"kind": "exponential", "base": 1e300, "factor": 1e5},
        {"kind": "linear", "base": 1e300, "jitter": 1.0},
        {"kind": "fixed", "base": "soon", "max": [], "jitter": {}},
    ],
    ids=["empty", "beyond any number", "beyond any time", "no numbers"],
)
async def test_a_job_whose_backoff_makes_no_sense_does_not_stop_the_rescue_of_others(
    scene: Scene, backoff: dict[str, Any]
) -> None:
    worker = await scene.worker(dead=True)
    odd = await scene.job("RUNNING", worker=worker, backoff=backoff, attempt=71, crashes=70, max_crashes=100)
    good = await scene.job("RUNNING", worker=worker)
    assert set(await rescue(scene)) == {odd, good}
    assert await scene.due_in(odd) <= 366 * 86_400
    await scene.check()
