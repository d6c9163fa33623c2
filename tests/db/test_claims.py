"""The claim, by id and by head: who may start what, and that nobody starts anything twice."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from db import attempts, jobs, statements
from db.jobs import NewJob
from db.lifecycle import JobStatus, Priority
from tests.db.racing import Gate
from tests.db.scene import POOL, TASK, Scene

CLAIMS = ("claim_by_id", "claim_by_head")


async def claim(scene: Scene, way: str, worker: UUID, *ids: UUID, **more: Any) -> set[UUID]:
    """What a claim in this way wins; by head it asks every queue, because an id says nothing about its priority."""
    if way == "claim_by_id":
        return {job.id for job in await scene.claim(worker, *ids, **more)}
    won: set[UUID] = set()
    for priority in Priority:
        won |= {job.id for job in (await scene.claim_head(worker, priority=str(priority), **more)).jobs}
    return won


@pytest.mark.parametrize("way", CLAIMS)
@pytest.mark.parametrize("status", ["PENDING", "RETRYING"])
async def test_a_claim_starts_a_waiting_job(scene: Scene, way: str, status: str) -> None:
    worker = await scene.worker()
    failures = 1 if status == "RETRYING" else 0
    job = await scene.job(status, attempt=failures, failures=failures, progress='{"done": 1}', tags='["a"]')

    assert await claim(scene, way, worker, job) == {job}

    row = await scene.row(job)
    assert (row["status"], row["attempt"], row["worker_id"]) == ("RUNNING", failures + 1, worker)
    assert row["started_at"] is not None
    assert row["progress"] is None, "the progress of the attempt before is gone"
    await scene.check()


async def test_a_claim_answers_with_all_that_an_attempt_needs(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job(
        payload='{"n": 1}', idempotency_key="k", tags='["a"]', metadata='{"m": 1}', crashes=1, status="RETRYING"
    )
    (by_id,) = await scene.claim(worker, job)
    other = await scene.job(
        payload='{"n": 1}', idempotency_key="k", tags='["a"]', metadata='{"m": 1}', crashes=1, status="RETRYING"
    )
    head = await scene.claim_head(worker)
    (by_head,) = head.jobs

    for claimed, expected in ((by_id, job), (by_head, other)):
        assert claimed.id == expected
        assert (claimed.attempt, claimed.task, claimed.payload) == (1, TASK, '{"n": 1}')
        assert (claimed.failures, claimed.crashes, claimed.max_attempts, claimed.max_crashes) == (0, 1, 3, 3)
        assert (claimed.idempotency_key, claimed.tags, claimed.metadata) == ("k", '["a"]', '{"m": 1}')
        assert (claimed.pool, claimed.priority, claimed.tenant, claimed.timeout) == (POOL, "default", "default", 60.0)


@pytest.mark.parametrize("way", CLAIMS)
@pytest.mark.parametrize("status", ["WAITING", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"])
async def test_a_claim_starts_nothing_that_does_not_wait(scene: Scene, way: str, status: str) -> None:
    worker = await scene.worker()
    job = await scene.job(status, worker=await scene.worker(), attempt=1)
    before = await scene.row(job)

    assert await claim(scene, way, worker, job) == set()
    assert await scene.row(job) == before


async def pause_queue(scene: Scene) -> None:
    await scene.link.fetch("pause_queue", pool=POOL, priority="default", reason=None)


async def pause_task(scene: Scene) -> None:
    await scene.ask("INSERT INTO errander.task_pauses (task) VALUES ($1)", TASK)


async def nothing(_: Scene) -> None:
    """Changes nothing."""


# Why a waiting job cannot be claimed: what it is like, and what else is so.
UNCLAIMABLE: dict[str, tuple[dict[str, Any], Callable[[Scene], Awaitable[None]]]] = {
    "paused queue": ({}, pause_queue),
    "paused task": ({}, pause_task),
    "expired": ({"expires_in": -0.5}, nothing),
    "early": ({"run_in": 60.0}, nothing),
    "other pool": ({"pool": "gpu"}, nothing),
    "other task": ({"task": "somebody.elses"}, nothing),
}


@pytest.mark.parametrize("way", CLAIMS)
@pytest.mark.parametrize("reason", UNCLAIMABLE)
async def test_both_ways_refuse_what_is_not_claimable_and_only_that(scene: Scene, way: str, reason: str) -> None:
    worker = await scene.worker()
    like, also = UNCLAIMABLE[reason]
    refused = await scene.job(**like)
    await also(scene)
    # a neighbour that differs in exactly what makes the other unclaimable
    other_task = await scene.job(task="another", priority="low")

    assert await claim(scene, way, worker, refused, other_task, tasks=[TASK, "another"]) == {other_task}
    assert await scene.status(refused) == "PENDING"
    found = await attempts.verdict(scene.link, [refused], worker=worker, lease=30.0, pool=POOL, tasks=[TASK])
    assert not found[refused].claimable, "the verdict goes by the same predicate"
    await scene.check()


@pytest.mark.parametrize("way", [*CLAIMS, "verdict"])
def test_every_claim_and_the_verdict_include_the_one_predicate(way: str) -> None:
    written = (statements.FOLDER / f"{way}.sql").read_text()
    assert written.count("-- @include claimable") == 1
    assert written.count("-- @include alive") == 1


@pytest.mark.parametrize("way", CLAIMS)
@pytest.mark.parametrize(
    "row", [{"dead": True}, {"beat_ago": 16.0}, None], ids=["declared dead", "beat older than half a lease", "no row"]
)
async def test_a_worker_without_a_fresh_row_starts_nothing(scene: Scene, way: str, row: dict[str, Any] | None) -> None:
    worker = uuid7() if row is None else await scene.worker(**row)
    job = await scene.job()

    assert await claim(scene, way, worker, job) == set()
    assert await scene.status(job) == "PENDING"
    found = await attempts.verdict(scene.link, [job], worker=worker, lease=30.0, pool=POOL, tasks=[TASK])
    assert (found[job].alive, found[job].claimable) == (False, True)


@pytest.mark.parametrize("way", CLAIMS)
async def test_a_beat_younger_than_half_a_lease_is_enough(scene: Scene, way: str) -> None:
    worker = await scene.worker(beat_ago=14.0)
    job = await scene.job()
    assert await claim(scene, way, worker, job) == {job}


@pytest.mark.parametrize("first", CLAIMS)
@pytest.mark.parametrize("second", CLAIMS)
async def test_a_job_that_another_is_claiming_is_skipped_at_once(scene: Scene, first: str, second: str) -> None:
    one, two = await scene.worker(), await scene.worker()
    job, free = await scene.job(), await scene.job()
    async with scene.database.begin() as link:
        if first == "claim_by_id":
            await scene.claim(one, job, link=link)
        else:
            await scene.claim_head(one, 1, link=link)
        assert await claim(scene, second, two, job, free) == {free}
    assert (await scene.row(job))["worker_id"] == one
    await scene.check()


async def test_many_claims_at_once_start_every_job_exactly_once(scene: Scene) -> None:
    owners = [await scene.worker() for _ in range(6)]
    ids = [await scene.job() for _ in range(60)]

    won = await asyncio.gather(
        *(
            scene.claim(worker, *ids) if n % 2 else _jobs(scene.claim_head(worker, 60))
            for n, worker in enumerate(owners)
        )
    )

    started = [job.id for jobs in won for job in jobs]
    assert len(started) == len(set(started))
    left = set(ids) - set(started)
    # what two claims stood in front of together, both may have skipped; it is still there
    assert {job.id for job in await scene.claim(owners[0], *ids)} == left
    assert {(await scene.row(job))["attempt"] for job in ids} == {1}
    await scene.check()


async def _jobs(head: Awaitable[attempts.Head]) -> list[attempts.Claimed]:
    return (await head).jobs


@pytest.mark.parametrize("way", CLAIMS)
async def test_what_changed_after_the_candidates_were_read_is_judged_anew(scene: Scene, gate: Gate, way: str) -> None:
    worker = await scene.worker()
    postponed, moved, cancelled, kept = [await scene.job() for _ in range(4)]
    claiming = await gate.start(way, claim_one_queue(scene, way, worker, postponed, moved, cancelled, kept))

    await scene.ask("UPDATE errander.jobs SET run_at = now() + interval '1 h' WHERE id = $1", postponed)
    await scene.ask("UPDATE errander.ready SET run_at = j.run_at FROM errander.jobs j WHERE j.id = ready.id")
    await scene.ask("UPDATE errander.jobs SET pool = 'gpu' WHERE id = $1", moved)
    await scene.ask("UPDATE errander.ready SET pool = 'gpu' WHERE id = $1", moved)
    await scene.link.fetch("cancel", ids=[cancelled], tenant="default", reason=None)
    gate.open()

    assert await claiming == {kept}
    assert await scene.status(cancelled) == "CANCELLED"
    await scene.check()


async def claim_one_queue(scene: Scene, way: str, worker: UUID, *ids: UUID) -> set[UUID]:
    if way == "claim_by_id":
        return {job.id for job in await scene.claim(worker, *ids)}
    return {job.id for job in (await scene.claim_head(worker)).jobs}


async def test_a_doubled_id_starts_a_job_once(scene: Scene) -> None:
    worker, job = await scene.worker(), await scene.job()
    assert [claimed.attempt for claimed in await scene.claim(worker, job, job, uuid7())] == [1]


async def test_the_head_is_won_earliest_first_and_across_tasks(scene: Scene) -> None:
    worker = await scene.worker()
    ids = [
        await scene.job(run_in=-delay, task=task)
        for delay, task in ((1, TASK), (4, "b"), (3, TASK), (2, "b"), (5, TASK))
    ]
    head = await scene.claim_head(worker, 3, tasks=[TASK, "b"])
    assert {job.id for job in head.jobs} == {ids[4], ids[1], ids[2]}
    assert head.seen >= 3, "full: there is more"


async def test_a_short_head_and_an_empty_one_are_told_from_a_full_one(scene: Scene) -> None:
    worker = await scene.worker()
    assert await scene.claim_head(worker, 2) == attempts.Head([], 0)
    await scene.job()
    short = await scene.claim_head(worker, 2)
    assert (len(short.jobs), short.seen) == (1, 1)


async def test_a_head_that_others_hold_is_seen_though_nothing_of_it_is_won(scene: Scene) -> None:
    one, two = await scene.worker(), await scene.worker()
    for _ in range(3):
        await scene.job()
    async with scene.database.begin() as link:
        assert len((await scene.claim_head(one, 3, link=link)).jobs) == 3
        head = await scene.claim_head(two, 3)
    assert (head.jobs, head.seen) == ([], 3)


async def test_a_claim_looks_past_the_locked_head_for_four_times_its_slots(scene: Scene) -> None:
    one, two = await scene.worker(), await scene.worker()
    ids = [await scene.job(run_in=-60 + n) for n in range(6)]
    async with scene.database.begin() as link:
        await scene.claim(one, *ids[:3], link=link)
        won = {job.id for job in (await scene.claim_head(two, 1)).jobs}
    assert won == {ids[3]}


@pytest.mark.parametrize("way", CLAIMS)
async def test_a_claim_takes_what_its_bound_of_bytes_lets_in_earliest_first(
    scene: Scene, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_BYTES", 100)
    worker = await scene.worker()
    sizes = (60, 40, 500, 60, 50)
    ids = [await scene.job(payload_bytes=size, run_in=-10.0 + n) for n, size in enumerate(sizes)]
    won = []
    while len(claimed := await claim(scene, way, worker, *ids)) > 0:
        won.append(claimed)
    assert won == [{ids[0], ids[1]}, {ids[2]}, {ids[3], ids[4]}]
    await scene.check()


async def test_a_head_that_was_left_for_its_bytes_counts_as_full(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_BYTES", 100)
    worker = await scene.worker()
    for _ in range(2):
        await scene.job(payload_bytes=100)
    cut, whole = await scene.claim_head(worker, 10), await scene.claim_head(worker, 10)
    assert (len(cut.jobs), cut.seen) == (1, 10)
    assert (len(whole.jobs), whole.seen) == (1, 1)


async def test_a_job_knows_how_large_its_payload_is(scene: Scene) -> None:
    new = NewJob(uuid7(), TASK, POOL, "default", json.dumps({"text": "é" * 100}), 3, 3, 60.0, "{}")
    await jobs.insert(scene.link, "default", [new])
    (claimed,) = await scene.claim(await scene.worker(), new.id)
    assert (await scene.row(new.id))["payload_bytes"] == len(claimed.payload.encode())


async def test_what_nobody_here_serves_does_not_stand_in_front_of_a_known_job(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.ask(
        "WITH made AS (INSERT INTO errander.jobs (id, tenant, task, pool, priority, status, payload, max_attempts,"
        " max_crashes, timeout, backoff, run_at, created_at)"
        " SELECT gen_random_uuid(), 'default', 'gone.task', $1, 'default', 'PENDING', '{}', 3, 3, 60, '{}',"
        " now() - interval '1 h', now() FROM generate_series(1, 50000) RETURNING *)"
        " INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at, expires_at FROM made",
        POOL,
    )
    known = await scene.job()

    began = time.monotonic()
    won = [job.id for job in (await scene.claim_head(worker, 100)).jobs]
    took = time.monotonic() - began

    assert won == [known]
    assert took < 1.0, f"{took:.2f} s"
    plan = await explain(scene, "claim_by_head", n=100, worker=worker)
    assert "ready_head" in plan
    assert "Seq Scan on ready" not in plan
    assert "Seq Scan on jobs" not in plan


async def explain(scene: Scene, name: str, *, n: int, worker: UUID) -> str:
    statement = statements.load(name, scene.link.schema)
    queue = {"pool": POOL, "priority": "default", "tasks": [TASK]}
    binds = {"n": n, "worker": worker, "lease": 30.0, "most_bytes": attempts.MOST_BYTES, **queue}
    rows = await scene.ask(f"EXPLAIN (COSTS OFF) {statement.sql}", *statement.values(binds))
    return "\n".join(row[0] for row in rows)


async def test_a_claim_clears_an_old_cancel_request(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job(JobStatus.RETRYING, failures=1, attempt=1, cancel_asked=True)
    await scene.claim(worker, job)
    assert (await scene.row(job))["cancel_requested_at"] is None
