"""The leader's loops, a step at a time."""

import asyncio
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from db import attempts, workers
from db.engine import Database, Link
from db.lifecycle import JobStatus
from db.workers import Beat, WorkerRow
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually
from workers.loops.horizon import Horizon
from workers.loops.pruner import Pruner
from workers.loops.reaper import Reaper
from workers.publisher import Publisher

TASK = "fault.quick"
LEASE = 6.0


async def _join(link: Link) -> UUID:
    worker = uuid4()
    await workers.join(link, WorkerRow(worker, "default", ["high", "default", "low"], {TASK: "h"}, "host", 1, "0", 9))
    await workers.beat(link, worker, running=0, slots=9)
    return worker


async def _claimed(book: JobBook, worker: UUID, n: int, **options: object) -> list[UUID]:
    ids = await book.submit_many(TASK, [{}] * n, **options)
    won = await attempts.claim_by_id(book.database.link, ids, worker=worker, lease=LEASE, pool="default", tasks=[TASK])
    assert len(won) == n
    return ids


async def _beat_of(link: Link, worker: UUID) -> Beat:
    return next(beat for beat in await workers.beats(link) if beat.worker == worker)


# -- reaper ----------------------------------------------------------------------------------------------------------


async def test_the_reaper_takes_every_job_of_the_silent_and_none_of_the_living(
    book: JobBook, database: Database
) -> None:
    link = database.link
    silent, living = await _join(link), await _join(link)
    lost = await _claimed(book, silent, 2300)  # more than two batches
    kept = await _claimed(book, living, 5)
    beat = await _beat_of(link, silent)
    reaper = Reaper(link, None, lambda: [beat], interval=1)
    assert await reaper.run_once() == 2300
    records = await book.get_all(lost)
    assert {(record.status, record.crashes) for record in records} == {(JobStatus.RETRYING, 1)}
    assert errors(records[0])[0]["kind"] == "lost"
    assert await book.counts(kept) == {"RUNNING": 5}
    assert await reaper.run_once() == 0


async def test_a_worker_that_has_beaten_since_it_was_observed_is_spared(book: JobBook, database: Database) -> None:
    link = database.link
    worker = await _join(link)
    (job_id,) = await _claimed(book, worker, 1)
    stale = await _beat_of(link, worker)
    await workers.beat(link, worker, running=1, slots=9)
    assert await Reaper(link, None, lambda: [stale], interval=1).run_once() == 0
    assert (await book.get(job_id)).status == JobStatus.RUNNING


async def test_two_reapers_at_once_rescue_each_job_once(book: JobBook, database: Database) -> None:
    link = database.link
    worker = await _join(link)
    ids = await _claimed(book, worker, 1500)
    beat = await _beat_of(link, worker)
    reapers = [Reaper(link, None, lambda: [beat], interval=1) for _ in range(2)]
    took = await asyncio.gather(*(reaper.run_once() for reaper in reapers))
    # what one had locked the other skipped; nothing is taken twice
    assert sum(took) + await reapers[0].run_once() == 1500
    assert {record.crashes for record in await book.get_all(ids)} == {1}


async def test_the_reaper_ends_what_has_expired(book: JobBook, database: Database) -> None:
    late = await book.submit_many(TASK, [{}] * 1200, delay=60, expires_in=0.0)
    in_time = await book.submit(TASK, expires_in=60)
    assert await Reaper(database.link, None, list, interval=1).run_once() == 1200
    records = await book.get_all(late)
    assert {(record.status, record.cancelled_by) for record in records} == {(JobStatus.CANCELLED, "expired")}
    assert (await book.get(in_time)).status == JobStatus.PENDING


# -- horizon ---------------------------------------------------------------------------------------------------------


async def test_the_horizon_publishes_the_earliest_of_what_falls_due_soon_and_no_more_than_a_window(
    book: JobBook, database: Database, redis_url: str, redis_client: Redis
) -> None:
    await _join(database.link)
    await book.execute(
        "INSERT INTO errander.tasks (name, schema_hash, payload_schema, defaults) VALUES ($1, 'h', '{}', '{}')", TASK
    )
    soon = [await book.submit(TASK, delay=20.0 + n) for n in range(8)]
    beyond = await book.submit(TASK, delay=120)
    due = await book.submit(TASK)
    publisher = Publisher(redis_url, window=5, horizon=60)
    publisher.start()
    horizon = Horizon(database.link, publisher, window=5, horizon=60)
    await horizon.run_once()
    expected = {str(job_id) for job_id in soon[:5]}
    await eventually(lambda: _hinted(redis_client, expected))
    # level-triggered: what got lost is there again after the next step, and nothing is there twice
    await redis_client.flushdb()
    await horizon.run_once()
    await eventually(lambda: _hinted(redis_client, expected))
    await publisher.stop()
    assert str(beyond) not in expected
    assert str(due) not in expected


async def _hinted(redis_client: Redis, expected: set[str]) -> bool:
    return {member.decode() for member in await redis_client.zrange("errander:default", 0, -1)} == expected


# -- pruner ----------------------------------------------------------------------------------------------------------


async def test_the_pruner_deletes_what_was_kept_for_long_enough_and_nothing_else(
    book: JobBook, database: Database
) -> None:
    old = await _ended(book, JobStatus.SUCCESS, days=31)
    young = await _ended(book, JobStatus.SUCCESS, days=29)
    failed = await _ended(book, JobStatus.FAILED, days=1000)
    waiting = await book.submit(TASK)
    await book.execute("UPDATE errander.jobs SET created_at = now() - interval '9 years' WHERE id = $1", waiting)
    days = {JobStatus.SUCCESS: 30.0, JobStatus.FAILED: 0.0}
    await Pruner(database.link, days=days, idempotency_hours=24).run_once()
    left = {row["id"] for row in await database.link.executor.fetch("SELECT id FROM errander.jobs")}
    assert left == {young, failed, waiting}
    assert await book.events(old) == []
    assert await book.events(young) == ["failed"]


@pytest.mark.parametrize(("kept", "left"), [(365.0, ["300"]), (0.0, ["300", "366", "400"])])
async def test_the_pruner_deletes_old_entries_of_the_audit_log_unless_they_are_kept_for_ever(
    database: Database, kept: float, left: list[str]
) -> None:
    for days in ("400", "366", "300"):
        await database.link.executor.execute(
            "INSERT INTO errander.audit (at, tenant, actor, action, object_kind, object_id)"
            " VALUES (now() - CAST($1 AS text)::float8 * interval '1 day', 't', 'a', 'queue.pause', 'queue', $1)",
            days,
        )
    await Pruner(database.link, days={}, idempotency_hours=24, audit_days=kept).run_once()
    rows = await database.link.executor.fetch("SELECT object_id FROM errander.audit ORDER BY object_id")
    assert [row["object_id"] for row in rows] == left


async def test_the_pruner_keeps_a_dead_workers_row_while_a_job_runs_under_it(book: JobBook, database: Database) -> None:
    link = database.link
    busy, idle = await _join(link), await _join(link)
    await _claimed(book, busy, 1)
    await book.execute("UPDATE errander.workers SET dead_at = now() - interval '1 day'")
    await Pruner(link, days={}, idempotency_hours=24).run_once()
    assert [row["id"] for row in await book.workers(alive=False)] == [busy]
    assert idle != busy


async def _ended(book: JobBook, status: JobStatus, *, days: float) -> UUID:
    made = await book.submit(TASK)
    await book.execute("DELETE FROM errander.ready WHERE id = $1", made)
    # an id says when its job was made
    job_id = UUID(int=made.int - (int(days * 86_400_000) << 80))
    await book.execute("UPDATE errander.jobs SET id = $2 WHERE id = $1", made, job_id)
    await book.execute(
        "UPDATE errander.jobs SET status = $2, finished_at = now() - $3 * interval '1 day',"
        " failed_at = CASE WHEN $2 = 'FAILED' THEN now() END WHERE id = $1",
        job_id,
        str(status),
        days,
    )
    await book.execute(
        "INSERT INTO errander.history (job_id, event, status, attempt) VALUES ($1, 'failed', 'RETRYING', 1)", job_id
    )
    return job_id
