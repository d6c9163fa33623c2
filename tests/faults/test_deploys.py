"""Fleets of several versions, and more work in one second than a fleet can do in one."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults

MANY = 50_000


async def test_a_job_whose_task_was_taken_out_waits_at_no_cost_until_a_worker_has_it_again(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger
) -> None:
    (new,) = await fleet.ready(ERRANDER_TASKS="")  # it has the built-in tasks only
    (old,) = await fleet.ready()
    long = await book.submit("fault.sleep", {"seconds": 60})
    await eventually(lambda: ledger.starts(long))
    old.send(signal.SIGTERM)
    assert await old.ended() == 0
    removed = await book.submit_many("fault.quick", [{}] * 5)
    known = await book.submit_many("demo.echo", [{}] * 5)
    await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in [*removed, *known, long]])
    await book.succeeds(*known)
    waiting = await book.get_all([*removed, long])
    assert {record.status for record in waiting} == {JobStatus.PENDING}
    assert {(record.failures, record.crashes) for record in waiting} == {(0, 0)}
    (back,) = await fleet.ready()  # rolled back: both versions run
    await book.succeeds(*removed)
    await eventually(lambda: len(ledger.starts(long)) == 2)
    assert {line.pid for line in ledger.starts()} == {old.pid, back.pid}
    assert new.alive
    ledger.check(silence=SILENCE)


async def test_fifty_thousand_jobs_that_fall_due_at_one_moment_are_all_done_and_none_is_early(
    fleet: Fleet, book: JobBook
) -> None:
    workers = await fleet.ready(2, slots=200)
    moment = datetime.now(UTC) + timedelta(seconds=5)
    await book.submit_many("fault.echo", [{}] * MANY, run_at=moment)
    await eventually(lambda: _nothing_waits(book), 90)
    early, late, other = await book.database.link.executor.fetchrow(  # type: ignore[misc]  # one row of three counts
        "SELECT count(*) FILTER (WHERE started_at < run_at), count(*) FILTER (WHERE started_at >= run_at),"
        " count(*) FILTER (WHERE status <> 'SUCCESS' OR attempt <> 1 OR crashes <> 0) FROM errander.jobs"
    )
    assert (early, late, other) == (0, MANY, 0)
    assert await book.workers(alive=False) == []
    assert [len(worker.ids) for worker in workers] == [1, 1]


async def _nothing_waits(book: JobBook) -> bool:
    return not await book.execute("SELECT EXISTS (SELECT FROM errander.ready) OR EXISTS (SELECT FROM errander.running)")
