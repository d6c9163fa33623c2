"""The rollup loop and the pruner: a turn at a time, in bounded steps, until nothing is left."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from db import attempts, retention, rollups, statements, workers
from db.engine import Database
from db.errors import DatabaseError
from db.lifecycle import JobStatus
from db.workers import WorkerRow
from tests.fixtures.jobs import JobBook
from workers.loops import rollups as rollup_loop
from workers.loops.pruner import Pruner
from workers.loops.rollups import Rollups, next_step

TASK = "fault.quick"


async def ended(book: JobBook, n: int, *, days: float, apart: float = 0.001) -> None:
    """`n` jobs that succeeded from `days` days ago on, `apart` seconds from each other; ids of that time."""
    await book.execute(
        "INSERT INTO errander.jobs (id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes,"
        " timeout, backoff, run_at, created_at, started_at, finished_at, worker_id, attempt)"
        " SELECT (lpad(to_hex((extract(epoch FROM m.at) * 1000)::bigint), 12, '0') || '7'"
        " || substr(md5(g::text), 1, 3) || '8' || substr(md5(g::text), 4, 15))::uuid,"
        " 'default', $4, 'default', 'default', 'SUCCESS', '{}', 3, 3, 60, '{}', m.at, m.at, m.at, m.at,"
        " '00000000-0000-4000-8000-000000000001', 1"
        " FROM generate_series(1, $1::int) g,"
        " LATERAL (SELECT now() - $2::float8 * interval '1 day' + g * $3::float8 * interval '1 second' AS at) m",
        n,
        days,
        apart,
        TASK,
    )


async def mark(book: JobBook, days: float) -> None:
    await book.execute("UPDATE errander.rollup_marks SET folded_until = now() - $1::float8 * interval '1 day'", days)


async def totals(book: JobBook) -> dict[str, int]:
    rows = await book.database.link.executor.fetch("SELECT status, jobs FROM errander.rollup_totals WHERE jobs <> 0")
    return {row["status"]: row["jobs"] for row in rows}


# -- rollups ---------------------------------------------------------------------------------------------------------


async def test_the_loop_catches_up_with_a_month_in_one_turn_and_then_keeps_up(
    book: JobBook, database: Database
) -> None:
    await mark(book, 40)
    await ended(book, 500, days=30, apart=5000.0)
    loop = Rollups(database, margin=0.0)
    assert await loop.run_once() == 500
    assert await totals(book) == {"SUCCESS": 500}
    assert await loop.run_once() == 0
    await ended(book, 3, days=0.0, apart=0.0)
    assert await loop.run_once() == 3
    assert await totals(book) == {"SUCCESS": 503}


async def test_a_turn_whose_time_is_up_is_due_again_at_once(
    book: JobBook, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_loop, "_BUDGET", 0.0)
    monkeypatch.setattr(rollup_loop, "_LONGEST", 60.0)
    await mark(book, 1)
    loop = Rollups(database, margin=0.0)
    for _ in range(3):
        assert loop.due()
        await loop.tick()
    assert loop.due()


async def test_two_leaders_count_each_end_once(book: JobBook, database: Database) -> None:
    await mark(book, 2)
    await ended(book, 300, days=1, apart=60.0)
    loops = [Rollups(database, margin=0.0) for _ in range(3)]
    found = [await asyncio.gather(*(loop.run_once() for loop in loops)) for _ in range(5)]
    assert sum(map(sum, found)) == 300
    assert await totals(book) == {"SUCCESS": 300}


async def test_a_leader_that_dies_in_the_middle_of_a_step_leaves_it_to_the_next(
    book: JobBook, database: Database
) -> None:
    await mark(book, 2)
    await ended(book, 20, days=1, apart=1.0)
    with pytest.raises(RuntimeError, match="dies"):
        async with database.begin() as link:
            held = await link.row("lock_rollups", margin=0.0, longest=0.0)
            assert held is not None
            row = await link.row(
                "fold_finished", since=held["folded_until"], until=held["settled_until"], span=rollups.OLD
            )
            assert row is not None
            assert row["finished"] == 20
            raise RuntimeError("the leader dies")
    assert await totals(book) == {}
    assert await Rollups(database, margin=0.0).run_once() == 20
    assert await totals(book) == {"SUCCESS": 20}


async def test_a_step_that_took_too_long_goes_less_far_the_next_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []

    async def fold(_: Database, *, step: float, margin: float) -> None:
        steps.append(step)
        raise DatabaseError("canceling statement due to statement timeout")

    monkeypatch.setattr(rollups, "fold", fold)
    loop = Rollups(database)
    for _ in range(5):
        with pytest.raises(DatabaseError):
            await loop.run_once()
    assert steps == [60.0, 15.0, 3.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("step", "took", "expected"),
    [(60.0, 0.01, 120.0), (60.0, 0.2, 60.0), (60.0, 0.9, 30.0), (1.0, 9.0, 1.0), (86_400.0, 0.0, 86_400.0)],
)
def test_a_step_grows_while_it_is_quick_and_shrinks_when_it_is_slow(step: float, took: float, expected: float) -> None:
    assert next_step(step, took) == expected


async def heap_pages_read(database: Database) -> int:
    """Pages that a look at the last minute reads."""
    plan = await database.link.executor.fetchval(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT count(*) FROM errander.jobs"
        " WHERE finished_at > now() - interval '1 minute'"
    )
    found = json.loads(plan)[0]["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


async def test_a_turn_makes_looks_by_time_cheap_over_new_pages(book: JobBook, database: Database) -> None:
    await book.execute("ALTER TABLE errander.jobs SET (autovacuum_enabled = off)")
    await book.execute("ALTER INDEX errander.jobs_finished SET (autosummarize = off)")
    await ended(book, 20_000, days=3)
    await book.execute("ANALYZE errander.jobs")
    before = await heap_pages_read(database)
    assert before > 300, "new pages are read whole"
    loop = Rollups(database)
    async with database.begin() as link:  # as a vacuum would
        await link.executor.execute("LOCK errander.jobs IN SHARE UPDATE EXCLUSIVE MODE")
        await loop.run_once()
    assert await heap_pages_read(database) == before
    await loop.run_once()
    assert await heap_pages_read(database) < before / 10


# -- pruner ----------------------------------------------------------------------------------------------------------


def pruner_of(database: Database, **options: Any) -> Pruner:
    return Pruner(database.link, days={JobStatus.SUCCESS: 30.0}, idempotency_hours=24, **options)


async def test_a_backlog_is_pruned_in_turns_that_follow_at_once(book: JobBook, database: Database) -> None:
    await ended(book, 4500, days=40)
    loop = pruner_of(database, budget=0.0)  # at least one batch a turn
    turns = []
    while loop.due():
        turns.append(await loop.tick())
    assert turns == [1000, 1000, 1000, 1000, 500]
    assert await book.database.link.executor.fetchval("SELECT count(*) FROM errander.jobs") == 0


async def test_a_turn_ends_when_its_time_is_up_and_rests_when_nothing_is_left(
    book: JobBook, database: Database
) -> None:
    await ended(book, 2500, days=40)
    loop = pruner_of(database, budget=60.0)
    assert await loop.tick() == 2500
    assert not loop.due()


async def test_claims_go_on_while_old_jobs_are_pruned(book: JobBook, database: Database) -> None:
    await ended(book, 20_000, days=40)
    worker = uuid4()
    await workers.join(database.link, WorkerRow(worker, "default", ["default"], {TASK: "h"}, "host", 1, "0", 9))
    waiting = await book.submit_many(TASK, [{}] * 500)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await database.link.executor.fetchval(deadlocks)

    async def claim_and_finish() -> int:
        done = 0
        while True:
            head = await attempts.claim_by_head(
                database.link, 50, worker=worker, lease=60, pool="default", priority="default", tasks=[TASK]
            )
            if not head.jobs:
                return done
            done += len(
                await attempts.succeed(
                    database.link,
                    worker=worker,
                    ids=[job.id for job in head.jobs],
                    attempts=[job.attempt for job in head.jobs],
                    results=["{}"] * len(head.jobs),
                )
            )

    pruned, done = await asyncio.gather(pruner_of(database, budget=60.0).run_once(), claim_and_finish())
    assert (pruned, done) == (20_000, len(waiting))
    assert await database.link.executor.fetchval(deadlocks) == before


async def test_a_walk_passes_what_is_kept_and_begins_where_it_came_to(book: JobBook, database: Database) -> None:
    await ended(book, 30, days=40, apart=1.0)
    await book.execute(
        "UPDATE errander.jobs SET status = 'CANCELLED', cancelled_by = 'client' WHERE id IN"
        " (SELECT id FROM errander.jobs ORDER BY id LIMIT 25)"
    )
    seconds = 30 * 86_400.0
    walked, after, deleted = 0, retention.FIRST, 0
    while True:
        pruned = await retention.prune_jobs(database.link, JobStatus.SUCCESS, after, seconds=seconds, n=1)
        walked += 1
        deleted += pruned.deleted
        if pruned.at_end:
            break
        assert pruned.reached > after, "a walk goes on"
        after = pruned.reached
    assert (deleted, walked) == (5, 8), "25 passed in tens, then one at a time"
    again = await retention.prune_jobs(database.link, JobStatus.SUCCESS, after, seconds=seconds, n=1)
    assert (again.deleted, again.at_end) == (0, True)


async def test_a_job_that_ended_long_after_it_was_made_is_found_by_the_next_sweep(
    book: JobBook, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(book, 1, days=50)
    await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '30 days' + interval '1 hour'")
    loop = pruner_of(database)
    assert await loop.run_once() == 0
    await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '31 days'")  # time goes by
    assert await loop.run_once() == 0, "passed, until the next sweep"
    monkeypatch.setattr(loop, "_sweep_at", 0.0)
    assert await loop.run_once() == 1


async def test_looking_for_old_jobs_costs_nothing_where_their_space_was_used_again(
    book: JobBook, database: Database
) -> None:
    await ended(book, 10_000, days=40)
    assert await pruner_of(database, budget=60.0).run_once() == 10_000
    await book.execute("VACUUM (TRUNCATE off) errander.jobs")
    pages = "SELECT pg_relation_size('errander.jobs') / 8192"
    before = await database.link.executor.fetchval(pages)
    await ended(book, 8_000, days=1)
    assert await database.link.executor.fetchval(pages) <= before
    await book.execute("ANALYZE errander.jobs")
    statement = statements.load("prune_jobs", "errander")
    binds = {"status": "SUCCESS", "seconds": 30 * 86_400.0, "lag": 3600.0, "after": retention.FIRST}
    plan = await database.link.executor.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}",
        *statement.values({**binds, "look": 10_000, "n": 1000}),
    )
    found = json.loads(plan)[0]["Plan"]
    assert found["Shared Hit Blocks"] + found["Shared Read Blocks"] < 20
