"""The lease of a process: join, beat, roll call, leave; the leader's term; and which rows are pruned."""

import asyncio
from uuid import UUID, uuid4

import pytest

from db import leader, retention, workers
from db.lifecycle import JobStatus
from db.workers import Held, WorkerRow
from tests.db.pruning import prune_jobs
from tests.db.racing import Gate
from tests.db.scene import Scene


def row(worker: UUID) -> WorkerRow:
    return WorkerRow(worker, "default", ["high"], {"a": "1"}, "host", 7, "1.0", 10, 9464, {"k": 1})


async def test_a_worker_joins_once_however_often_it_says_so(scene: Scene) -> None:
    worker = uuid4()
    await workers.join(scene.link, row(worker))
    await workers.join(scene.link, row(worker))
    (found,) = await workers.list_workers(scene.link)
    assert (found["id"], found["pid"], found["slots"], found["metrics_port"]) == (worker, 7, 10, 9464)


async def test_joining_again_does_not_bring_a_dead_worker_back(scene: Scene) -> None:
    worker = await scene.worker(dead=True)
    await workers.join(scene.link, row(worker))
    assert await workers.beat(scene.link, worker, running=0, slots=1) is None


async def test_a_beat_renews_the_lease_of_the_living_only(scene: Scene) -> None:
    live, dead = await scene.worker(beat_ago=20), await scene.worker(beat_ago=20, dead=True)
    assert await workers.beat(scene.link, live, running=3, slots=10) is False
    assert await workers.beat(scene.link, dead, running=3, slots=10) is None
    assert await workers.beat(scene.link, uuid4(), running=3, slots=10) is None
    (seen,) = await workers.beats(scene.link)
    assert (seen.worker, seen.age < 1) == (live, True)
    ages = await scene.ask(
        "SELECT extract(epoch FROM now() - beat_at)::float8 AS age FROM errander.workers WHERE id = $1", dead
    )
    assert ages[0]["age"] > 19


async def test_a_drain_is_told_with_the_next_beat(scene: Scene) -> None:
    live, dead = await scene.worker(), await scene.worker(dead=True)
    assert await workers.request_drain(scene.link, live)
    assert await workers.request_drain(scene.link, live), "asking again is harmless"
    assert not await workers.request_drain(scene.link, dead)
    assert not await workers.request_drain(scene.link, uuid4())
    assert await workers.beat(scene.link, live, running=0, slots=1) is True


async def test_a_worker_that_leaves_is_dead_and_what_it_left_is_rescued(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    await workers.leave(scene.link, worker)
    assert await workers.beats(scene.link) == []
    assert [found.moved.id for found in await workers.rescue(scene.link, [], n=10)] == [job]


async def test_the_roll_call_answers_what_runs_under_this_worker(scene: Scene) -> None:
    worker, other = await scene.worker(), await scene.worker()
    plain = await scene.job("RUNNING", worker=worker)
    asked = await scene.job("RUNNING", worker=worker, attempt=4, cancel_asked=True)
    await scene.job("RUNNING", worker=other)
    await scene.job("SUCCESS", worker=worker, attempt=1)
    found = await workers.roll_call(scene.link, worker)
    assert sorted(found, key=lambda held: held.attempt) == [Held(plain, 1, cancel=False), Held(asked, 4, cancel=True)]


async def test_what_an_unanswered_claim_won_is_seen_and_given_back_free(scene: Scene) -> None:
    # the reply of the claim never came: PostgreSQL says that a living worker runs what it does not know of
    worker = await scene.worker()
    job = await scene.job()
    await scene.claim(worker, job)
    assert await workers.rescue(scene.link, [], n=10) == [], "nobody else takes them: their worker lives"

    (stray,) = await workers.roll_call(scene.link, worker)
    assert (stray.id, stray.attempt) == (job, 1)
    await scene.finish("give_back", worker, (stray.id, stray.attempt), begun=False)

    found = await scene.row(job)
    assert (found["status"], found["failures"], found["crashes"]) == ("PENDING", 0, 0)
    assert [claimed.attempt for claimed in await scene.claim(worker, job)] == [2]
    await scene.check()


# -- leading ----------------------------------------------------------------------------------------------------------


async def test_one_leads_until_its_term_is_over(scene: Scene) -> None:
    one, two = uuid4(), uuid4()
    assert await leader.lead(scene.link, one, seconds=60) == 1
    assert await leader.lead(scene.link, two, seconds=60) is None
    assert await leader.lead(scene.link, one, seconds=60) == 1, "a renewal is the same term"
    await scene.ask("UPDATE errander.leaders SET until = now() - interval '1 ms'")
    assert await leader.lead(scene.link, two, seconds=60) == 2
    assert await leader.lead(scene.link, one, seconds=60) is None


async def test_a_term_that_no_honest_clock_can_have_given_is_taken(scene: Scene) -> None:
    dead, one = uuid4(), uuid4()
    await leader.lead(scene.link, dead, seconds=60)
    await scene.ask("UPDATE errander.leaders SET until = now() + interval '119 s'")
    assert await leader.lead(scene.link, one, seconds=60) is None
    # what a clock that was set back by ten minutes leaves behind
    await scene.ask("UPDATE errander.leaders SET until = until + interval '10 min'")
    assert await leader.lead(scene.link, one, seconds=60) == 2
    assert await leader.lead(scene.link, dead, seconds=60) is None


async def test_a_leader_that_resigns_is_followed_at_once(scene: Scene) -> None:
    one, two = uuid4(), uuid4()
    await leader.lead(scene.link, one, seconds=60)
    await leader.resign(scene.link, two)
    assert await leader.lead(scene.link, two, seconds=60) is None, "nobody resigns for another"
    await leader.resign(scene.link, one)
    assert await leader.lead(scene.link, two, seconds=60) == 2


async def test_of_many_that_ask_at_once_one_leads(scene: Scene) -> None:
    terms = await asyncio.gather(*(leader.lead(scene.link, uuid4(), seconds=60) for _ in range(8)))
    assert sorted(term for term in terms if term is not None) == [1]


# -- pruning ----------------------------------------------------------------------------------------------------------


async def test_a_worker_row_goes_an_hour_after_its_death_unless_a_job_runs_under_it(scene: Scene) -> None:
    long_dead, busy, just_dead, live = [await scene.worker() for _ in range(4)]
    await scene.ask(
        "UPDATE errander.workers SET dead_at = now() - interval '2 h' WHERE id = ANY($1)", [long_dead, busy]
    )
    await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE id = $1", just_dead)
    await scene.job("RUNNING", worker=busy)
    assert await retention.prune_workers(scene.link, seconds=3600, n=10) == 1
    left = {found["id"] for found in await scene.ask("SELECT id FROM errander.workers")}
    assert left == {busy, just_dead, live}


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELLED"])
async def test_final_jobs_go_with_their_history_when_they_are_old_enough(scene: Scene, status: str) -> None:
    old = [await scene.job(status, finished_ago=100.0) for _ in range(3)]
    young = await scene.job(status, finished_ago=10.0)
    other = await scene.job("SUCCESS" if status != "SUCCESS" else "FAILED", finished_ago=100.0)
    for job in (*old, young):
        await scene.ask(
            "INSERT INTO errander.history (job_id, event, status, attempt) VALUES ($1, 'failed', 'RETRYING', 1)", job
        )
    assert await prune_jobs(scene.link, JobStatus(status), seconds=50, n=2) == 2
    assert await prune_jobs(scene.link, JobStatus(status), seconds=50, n=2) == 1
    assert {found["id"] for found in await scene.ask("SELECT id FROM errander.jobs")} == {young, other}
    assert {found["job_id"] for found in await scene.ask("SELECT job_id FROM errander.history")} == {young}


async def test_a_job_that_was_replayed_meanwhile_is_kept(scene: Scene, gate: Gate) -> None:
    job = await scene.job("FAILED", finished_ago=100.0)
    pruning = await gate.start("prune_jobs", prune_jobs(scene.link, JobStatus.FAILED, seconds=50, n=10))
    async with scene.database.begin() as link:
        await link.fetch("replay", ids=[job], tenant="default", delay=0.0, payload=None, max_attempts=None, reason=None)
    gate.open()
    assert await pruning == 0
    assert len(await scene.history(job)) == 1
    await scene.check()


async def test_a_key_is_released_when_its_jobs_have_been_final_for_long_enough(scene: Scene) -> None:
    over, young, waits = (
        await scene.job("SUCCESS", finished_ago=100.0),
        await scene.job("SUCCESS", finished_ago=10.0),
        await scene.job(),
    )
    for key, jobs, due in (
        ("over", [over], -1),
        ("gone", [uuid4()], -1),
        ("young", [over, young], -1),
        ("waits", [waits], -1),
        ("not due", [over], 60),
    ):
        await scene.ask(
            "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
            " VALUES ('default', 'r', $1, '{}', $2, now() + make_interval(secs => $3::float8))",
            key,
            jobs,
            float(due),
        )
    assert await retention.prune_keys(scene.link, seconds=50, n=10) == 4
    assert {found["key"] for found in await scene.ask("SELECT key FROM errander.idempotency_keys")} == {
        "young",
        "waits",
        "not due",
    }
    assert await retention.prune_keys(scene.link, seconds=50, n=10) == 0, "the rest is asked again later"
