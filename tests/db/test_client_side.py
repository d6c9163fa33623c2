"""Statements of the client's side: each from every status, and against what happens at the same time."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from db import history, idempotency, jobs
from db.engine import Database
from db.errors import BadRow, Locked
from db.idempotency import Claim
from db.jobs import Change, Edit, NewJob
from db.lifecycle import FINAL, JobStatus
from tests.db.scene import Scene
from tests.fixtures.waiting import eventually

TENANT = "default"
ROUTE = "POST /v1/jobs"


def new(**fields: object) -> NewJob:
    given: dict[str, object] = {
        "id": uuid7(),
        "task": "report.build",
        "pool": "default",
        "priority": "default",
        "payload": "{}",
        "max_attempts": 3,
        "max_crashes": 3,
        "timeout": 60.0,
        "backoff": "{}",
    }
    return NewJob(**(given | fields))  # type: ignore[arg-type]


async def cancel(database: Database, *ids: UUID) -> Change:
    async with database.begin() as link:
        return await jobs.cancel(link, TENANT, ids, "why")


async def replay(database: Database, *ids: UUID) -> Change:
    async with database.begin() as link:
        return await jobs.replay(link, TENANT, ids, delay=5.0)


async def put(scene: Scene, status: JobStatus) -> UUID:
    worker = await scene.worker() if status is JobStatus.RUNNING else None
    if status is JobStatus.RETRYING:
        return await scene.job(status, failures=1, attempt=1)
    return await scene.job(status, worker=worker)


async def test_inserting_twice_is_inserting_once(scene: Scene, database: Database) -> None:
    job = new()
    first = await jobs.insert(database.link, TENANT, [job])
    assert [row.id for row in first] == [job.id]
    assert await jobs.insert(database.link, TENANT, [job]) == []
    await scene.check()


async def test_moments_are_resolved_on_the_database_clock(database: Database) -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    given = [new(), new(delay=60.0), new(run_at=ahead), new(run_at=datetime(2001, 1, 1, tzinfo=UTC), expires_in=9.0)]
    rows = await jobs.insert(database.link, TENANT, given)
    assert [row.id for row in rows] == [job.id for job in given]
    assert rows[0].run_at == rows[0].created_at
    assert rows[1].run_at - rows[1].created_at == timedelta(seconds=60)
    assert rows[2].run_at == ahead
    assert rows[3].run_at == rows[3].created_at
    assert rows[3].expires_at == rows[3].created_at + timedelta(seconds=9)
    assert [round(row.due_in) for row in rows[:2]] == [0, 60]


async def test_one_bad_row_is_found_among_many(scene: Scene, database: Database) -> None:
    given = [new() for _ in range(50)]
    bad = [new(payload='{"a": "\\u0000"}'), new(timeout=-1.0)]
    given[7:7], given[30:30] = bad[:1], bad[1:]
    with pytest.raises(BadRow):
        await jobs.insert(database.link, TENANT, given)
    assert set(await jobs.bad_rows(database, TENANT, given)) == {job.id for job in bad}
    assert await scene.ask("SELECT 1 FROM errander.jobs") == []


@pytest.mark.parametrize("status", list(JobStatus))
async def test_cancel_ends_what_waits_asks_what_runs_and_leaves_the_rest(
    scene: Scene, database: Database, status: JobStatus
) -> None:
    job = await put(scene, status)
    change = await cancel(database, job)
    row = await scene.row(job)
    if status in (JobStatus.WAITING, JobStatus.PENDING, JobStatus.RETRYING):
        assert (row["status"], row["cancelled_by"], row["cancel_reason"]) == ("CANCELLED", "client", "why")
    else:
        assert row["status"] == status
        assert (row["cancel_requested_at"] is not None) == (status is JobStatus.RUNNING)
    assert (job in change.moved) == (status not in FINAL)
    assert change.found == {job: status}
    assert [event["event"] for event in await scene.history(job)] == (
        ["cancel-requested"] if status is JobStatus.RUNNING else []
    )
    assert (await cancel(database, job)).moved == frozenset()
    await scene.check()


@pytest.mark.parametrize("status", list(JobStatus))
async def test_replay_puts_back_what_failed_or_was_cancelled(
    scene: Scene, database: Database, status: JobStatus
) -> None:
    job = await put(scene, status)
    before = await scene.row(job)
    change = await replay(database, job)
    row = await scene.row(job)
    if status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        assert change.moved == frozenset()
        assert row == before
        return
    assert (row["status"], row["replays"], row["finished_at"], row["failed_at"]) == ("PENDING", 1, None, None)
    assert 4 < await scene.due_in(job) <= 5
    (event,) = await scene.history(job)
    assert (event["event"], event["detail"]["status"]) == ("replayed", status)
    assert datetime.fromisoformat(event["detail"]["finished_at"]) == before["finished_at"]
    await scene.check()


@pytest.mark.parametrize("status", list(JobStatus))
async def test_edit_and_run_now_change_only_what_waits(scene: Scene, database: Database, status: JobStatus) -> None:
    job = await put(scene, status)
    before = await scene.row(job)
    async with database.begin() as link:
        await jobs.lock(link, TENANT, [job])
        new_values = Edit(priority="high", pool="gpu", run_at=datetime(2039, 1, 1, tzinfo=UTC))
        edited = await jobs.edit(link, TENANT, job, new_values, ["priority", "pool", "run_at"])
    async with database.begin() as link:
        moved = (await jobs.run_now(link, TENANT, job)).moved
    row = await scene.row(job)
    if status in FINAL or status is JobStatus.RUNNING:
        assert (edited, moved, row) == ((), frozenset(), before)
        return
    assert (row["status"], row["priority"], row["pool"]) == (status, "high", "gpu")
    assert (job in moved) == (status is not JobStatus.WAITING)
    assert [event["event"] for event in await scene.history(job)] == ["edited"] * (1 + len(moved))
    await scene.check()


async def test_another_tenants_job_is_not_there(scene: Scene, database: Database) -> None:
    job = await scene.job(tenant="other")
    assert await jobs.get(database.link, TENANT, job) is None
    assert await cancel(database, job) == Change(frozenset(), {}, ())
    assert await scene.status(job) == "PENDING"


async def test_a_cancel_that_waited_for_a_claim_asks_instead_of_ending(scene: Scene, database: Database) -> None:
    worker = await scene.worker()
    job = await scene.job()
    async with database.begin() as link:
        assert await scene.claim(worker, job, link=link)
        waiting = asyncio.create_task(cancel(database, job))
        await eventually(lambda: _somebody_waits(scene))
    assert (await waiting).found == {job: JobStatus.RUNNING}
    row = await scene.row(job)
    assert (row["status"], row["cancel_requested_at"] is not None) == ("RUNNING", True)
    await scene.check()


async def test_a_cancel_that_waited_for_a_retry_leaves_nothing_in_the_queue(scene: Scene, database: Database) -> None:
    """The row of the queue is younger than the moment the cancel began to wait."""
    worker = await scene.worker()
    job = await scene.job(JobStatus.RUNNING, worker=worker)
    async with database.begin() as link:
        await scene.finish("fail", worker, (job, 1), link=link)
        waiting = asyncio.create_task(cancel(database, job))
        await eventually(lambda: _somebody_waits(scene))
    assert (await waiting).found == {job: JobStatus.RETRYING}
    assert await scene.status(job) == "CANCELLED"
    await scene.check()


async def _somebody_waits(scene: Scene) -> bool:
    rows = await scene.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return bool(rows)


async def test_bulk_changes_in_opposite_orders_do_not_deadlock(scene: Scene, database: Database) -> None:
    made = [await scene.job() for _ in range(40)]
    for _ in range(5):
        await asyncio.gather(
            cancel(database, *made),
            replay(database, *made[::-1]),
            cancel(database, *made[::-1]),
            replay(database, *made),
        )
        await scene.check()


# -- keys --------------------------------------------------------------------------------------------------------------


async def submit_keyed(database: Database, key: str, **content: str) -> int:
    job = new(idempotency_key=key)
    won = await idempotency.submit(database.link, TENANT, ROUTE, jobs=[job], contents=[content], hours=24)
    return len(won)


async def test_a_key_and_its_job_are_one_statement(scene: Scene, database: Database) -> None:
    assert await submit_keyed(database, "k", a="1") == 1
    assert await submit_keyed(database, "k", a="2") == 0
    assert len(await scene.ask("SELECT 1 FROM errander.jobs")) == 1
    (holder,) = (await idempotency.held(database.link, TENANT, [(ROUTE, "k")], 24)).values()
    assert idempotency.differing(holder.content, {"a": "1"}) == []
    assert holder.run_at == (await scene.row(holder.job_ids[0]))["run_at"]
    await scene.check()


async def test_waiting_for_a_key_ends_after_a_moment(database: Database) -> None:
    async with database.begin() as link:
        claim = Claim(ROUTE, "k", {}, [new()])
        assert await idempotency.claim(link, TENANT, [claim], 24) == {(ROUTE, "k")}
        started = asyncio.get_running_loop().time()
        with pytest.raises(Locked):
            await submit_keyed(database, "k")
        assert asyncio.get_running_loop().time() - started < 1.5
    # the patience was that of one transaction
    (row,) = await database.link.executor.fetch("SELECT current_setting('lock_timeout') AS value")
    assert row["value"] != idempotency.PATIENCE


async def test_a_key_expires_only_when_all_its_jobs_have_been_final_for_long(scene: Scene, database: Database) -> None:
    old = await scene.job(JobStatus.SUCCESS, finished_ago=25 * 3600.0)
    recent = await scene.job(JobStatus.SUCCESS, finished_ago=3600.0)
    waiting = await scene.job()
    for key, ids in {"old": [old], "both": [old, recent], "open": [old, waiting], "gone": [uuid7()]}.items():
        await scene.ask(
            "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
            " VALUES ($1, $2, $3, '{}', $4, now())",
            TENANT,
            ROUTE,
            key,
            ids,
        )
    pairs = [(ROUTE, key) for key in ("old", "both", "open", "gone", "absent")]
    found = await idempotency.held(database.link, TENANT, pairs, 24)
    assert {key: holder.expired for (_, key), holder in found.items()} == {
        "old": True,
        "both": False,
        "open": False,
        "gone": True,
    }
    async with database.begin() as link:
        await idempotency.drop_expired(link, TENANT, list(found), 24)
    left = await scene.ask("SELECT key FROM errander.idempotency_keys ORDER BY key")
    assert [row["key"] for row in left] == ["both", "open"]


def test_content_is_compared_field_by_field_and_one_level_into_objects() -> None:
    one = idempotency.digests({"task": "t", "payload": {"a": {"x": 1, "y": 2}, "b/c": 1}, "tags": ["a"]})
    assert set(one) == {"/task", "/payload/a", "/payload/b~1c", "/tags"}
    same = idempotency.digests({"tags": ["a"], "payload": {"b/c": 1, "a": {"y": 2, "x": 1}}, "task": "t"})
    assert idempotency.differing(one, same) == []
    other = idempotency.digests({"task": "t", "payload": {"a": {"x": 1, "y": 2.5}}, "delay": 1})
    assert idempotency.differing(one, other) == ["/delay", "/payload/a", "/payload/b~1c", "/tags"]
    large = idempotency.digests({"payload": {str(n): n for n in range(idempotency.SPREAD + 1)}})
    assert set(large) == {"/payload"}
    assert idempotency.differing({"/a": "1", "@run_at": "x"}, {"/a": "1"}) == []


async def test_history_comes_back_in_order(scene: Scene, database: Database) -> None:
    job = await scene.job()
    await cancel(database, job)
    await replay(database, job)
    await cancel(database, job)
    await replay(database, job)
    rows = await history.rows(database.link, job)
    assert [row.event for row in rows] == ["replayed", "replayed"]
    assert rows[0].at < rows[1].at
    assert json.loads((await scene.row(job))["errors"]) == []
