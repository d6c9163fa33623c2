"""Which queue gets which slots: weights, pools, pauses, expiry."""

from collections import Counter
from uuid import UUID

import pytest

from db import queues, tasks
from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from tests.workers.conftest import HINTS_ONLY, RunWorker
from workers.hints import Hint, Hints

PRIORITIES = ("high", "default", "low")


@pytest.mark.parametrize("hinted", [False, True])
async def test_one_slot_is_shared_six_to_three_to_one(
    run_worker: RunWorker, book: JobBook, hints: Hints, ledger: Ledger, hinted: bool
) -> None:
    priority_of: dict[str, str] = {}
    for priority in PRIORITIES:
        ids = await book.submit_many("fault.quick", [{}] * 60, priority=priority)
        priority_of |= {str(job_id): priority for job_id in ids}
        if hinted:
            await hints.publish([Hint(job_id, "default", priority, 0.0) for job_id in ids])
    async with run_worker(slots=1):
        await eventually(lambda: len(ledger.starts()) >= 50, 60)
    first = Counter(priority_of[line.job] for line in ledger.starts()[:50])
    assert abs(first["high"] - 30) <= 1, first
    assert abs(first["default"] - 15) <= 1, first
    assert abs(first["low"] - 5) <= 1, first


async def test_a_worker_that_a_light_queue_wakes_still_shares_its_slots(
    run_worker: RunWorker, book: JobBook, hints: Hints, ledger: Ledger
) -> None:
    priority_of: dict[str, str] = {}
    async with run_worker(slots=20, head=HINTS_ONLY, drain=0.1) as running:
        await running.idle()
        for priority in PRIORITIES:
            ids = await book.submit_many("fault.sleep", [{"seconds": 30.0}] * 60, priority=priority)
            priority_of |= {str(job_id): priority for job_id in ids}
        # low first, so that it is low's token that wakes the worker; the others are there before it has taken anything
        waiting = sorted(priority_of, key=lambda job_id: ("low", "default", "high").index(priority_of[job_id]))
        await hints.publish([Hint(UUID(job_id), "default", priority_of[job_id], 0.0) for job_id in waiting])
        await eventually(lambda: len(ledger.starts()) == 20)
    started = Counter(priority_of[line.job] for line in ledger.starts())
    assert started["high"] >= 9, started
    assert started["low"] <= 5, started


async def test_what_one_queue_leaves_unused_goes_to_the_others(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    low = await book.submit_many("fault.sleep", [{"seconds": 1.0}] * 20, priority="low")
    async with run_worker(slots=20):
        await eventually(lambda: len(ledger.starts()) == 20)
        assert ledger.ends() == []  # all at once
        await book.succeeds(*low)


async def test_a_worker_serves_only_its_priorities_and_its_pool(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    mine = await book.submit("fault.quick", priority="high", pool="gpu")
    others = [
        await book.submit("fault.quick", priority="low", pool="gpu"),
        await book.submit("fault.quick", priority="high"),
    ]
    async with run_worker(pool="gpu", priorities=("high",)):
        await book.succeeds(mine)
        await book.succeeds(await book.submit("fault.quick", priority="high", pool="gpu"))
    assert {line.job for line in ledger.starts()}.isdisjoint(map(str, others))


async def test_a_paused_queue_starts_nothing_and_its_neighbours_do(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    link = book.database.link
    await queues.pause(link, "default", "default", "a test")
    held = await book.submit_many("fault.quick", [{}] * 50)
    async with run_worker(slots=5):
        await book.succeeds(*await book.submit_many("fault.quick", [{}] * 20, priority="low"))
        assert (await book.counts(held)) == {"PENDING": 50}
        await queues.resume(link, "default", "default")
        await book.succeeds(*held)


async def test_a_paused_task_starts_nothing_and_its_neighbours_in_the_queue_do(
    run_worker: RunWorker, book: JobBook
) -> None:
    link = book.database.link
    async with run_worker(slots=5):
        assert await tasks.pause(link, "fault.quick", "a test")
        held = await book.submit_many("fault.quick", [{}] * 50)
        await book.succeeds(*await book.submit_many("fault.sleep", [{"seconds": 0}] * 20))
        assert (await book.counts(held)) == {"PENDING": 50}
        await tasks.resume(link, "fault.quick")
        await book.succeeds(*held)


async def test_a_pause_lets_running_jobs_end_and_holds_their_retries(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    link = book.database.link
    async with run_worker():
        ends = await book.submit("fault.sleep", {"seconds": 0.5})
        retries = await book.submit("fault.fail-later", {"seconds": 0.5}, max_attempts=2)
        await eventually(lambda: len(ledger.starts()) == 2)
        await queues.pause(link, "default", "default", None)
        await book.succeeds(ends)
        await book.becomes(retries, JobStatus.RETRYING)
        neighbour = await book.submit("fault.sleep", {"seconds": 0.5}, priority="high")
        await book.succeeds(neighbour)
        assert len(ledger.starts(retries)) == 1
        await queues.resume(link, "default", "default")
        await book.becomes(retries, JobStatus.FAILED)


async def test_a_job_past_its_expiry_never_starts_and_is_cancelled(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    late = await book.submit_many("fault.quick", [{}] * 10, expires_in=0.0)
    in_time = await book.submit("fault.quick", expires_in=60)
    async with run_worker():
        await book.succeeds(in_time)
        records = await book.final(late)
    assert {(record.status, record.cancelled_by) for record in records} == {(JobStatus.CANCELLED, "expired")}
    assert {line.job for line in ledger.starts()} == {str(in_time)}
