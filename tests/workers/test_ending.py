"""The ways a worker process ends: drained, retired, with nothing left to do."""

import asyncio
import time

import pytest
from pydantic import ValidationError

from db.engine import Database
from db.lifecycle import JobStatus
from db.migrate import upgrade
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker
from workers import departure, ending
from workers.settings import LEAVING_SECONDS, WorkerSettings


async def test_a_drain_lets_running_jobs_end_and_takes_no_more(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker() as worker:
        running = await book.submit("fault.sleep", {"seconds": 1.0})
        await eventually(lambda: ledger.starts(running))
        await worker.drain()
        await eventually(lambda: _drains(book))
        late = await book.submit("fault.quick")
        assert await worker.ended() is False
    assert (await book.get(running)).status == JobStatus.SUCCESS
    assert (await book.get(late)).status == JobStatus.PENDING
    assert await book.workers() == []


async def _drains(book: JobBook) -> bool:
    rows = await book.workers()
    # the beat that reads the request comes after it was written
    return all(row["beat_at"] > row["drain_requested_at"] for row in rows if row["drain_requested_at"])


@pytest.mark.parametrize("task", ["fault.sleep", "fault.polite", "fault.process"])
async def test_a_drain_gives_back_what_does_not_end_in_time(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, task: str
) -> None:
    async with run_worker(drain=0.3) as worker:
        job_id = await book.submit(task, {"seconds": 60})
        await eventually(lambda: ledger.starts(job_id), 20)
        await worker.drain()
        assert await worker.ended() is False
        record = await book.get(job_id)
        assert (record.status, record.attempt, record.failures, record.crashes) == (JobStatus.PENDING, 1, 0, 0)
        assert await book.events(job_id) == ["given-back"]


async def test_a_drain_ends_a_job_that_may_run_only_once_as_lost(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker(drain=0.2) as worker:
        job_id = await book.submit("fault.sleep", {"seconds": 60}, max_crashes=1)
        await eventually(lambda: ledger.starts(job_id))
        await worker.drain()
        await worker.ended()
    record = await book.get(job_id)
    assert (record.status, errors(record)[0]["kind"]) == (JobStatus.FAILED, "lost")


def test_what_may_come_after_a_drain_while_code_runs_is_over_before_a_supervisor_kills() -> None:
    haste = ending.patience(code_runs=True)  # of the flush, then of the last act
    assert departure.STOP_SECONDS + 2 * haste + ending.RESIGN_SECONDS + ending.AHEAD_SECONDS <= LEAVING_SECONDS


async def test_code_that_does_not_stop_goes_back_before_a_supervisor_kills_though_another_row_is_locked(
    run_worker: RunWorker, book: JobBook, database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departure, "STOP_SECONDS", 0.3)  # the time of what comes after it is what counts here
    left: list[float] = []
    monkeypatch.setattr(ending, "leave", lambda **_: left.append(time.monotonic()))
    async with run_worker(drain=0.0) as worker:
        runs = await book.submit("fault.deaf", {"seconds": 3600})
        stops = await book.submit("fault.sleep", {"seconds": 3600})
        await eventually(lambda: ledger.starts(runs) and ledger.starts(stops))
        async with database.begin() as other:
            await other.fetch("lock_jobs", ids=[stops], tenant="default")
            await worker.drain()
            await worker.process.departure.told.wait()
            told = time.monotonic()
            await book.becomes(runs, JobStatus.PENDING)
            took = time.monotonic() - told
        await worker.ended()
    (deaf,) = [task for task in asyncio.all_tasks() if task.get_name() == f"errander.attempt.{runs}"]
    deaf.cancel()  # the process that was to end with it goes on here
    await asyncio.wait({deaf})
    assert took < LEAVING_SECONDS - 2.0
    assert len(left) == 1


async def test_a_worker_retires_after_its_number_of_jobs(run_worker: RunWorker, book: JobBook) -> None:
    ids = await book.submit_many("fault.quick", [{}] * 30)
    async with run_worker(max_jobs=10, slots=4) as worker:
        assert await worker.ended() is True
    counts = await book.counts(ids)
    assert 10 <= counts["SUCCESS"] < 20
    assert counts["PENDING"] == 30 - counts["SUCCESS"]
    async with run_worker():
        await book.succeeds(*ids)


async def test_a_burst_runs_what_is_due_and_ends(run_worker: RunWorker, book: JobBook) -> None:
    now = [await book.submit("fault.quick", priority=p) for p in ("high", "default", "low") for _ in range(40)]
    retried = await book.submit("fault.flaky", {"failures": 1}, backoff='{"kind": "fixed", "base": 60, "jitter": 0}')
    later = await book.submit("fault.quick", delay=60)
    async with run_worker(burst=True, slots=5) as worker:
        assert await worker.ended() is False
    assert (await book.counts(now))["SUCCESS"] == 120
    assert (await book.get(retried)).status == JobStatus.RETRYING
    assert (await book.get(later)).status == JobStatus.PENDING


async def test_a_worker_without_slots_leads_and_takes_nothing(run_worker: RunWorker, book: JobBook) -> None:
    job_id = await book.submit("fault.quick")
    expired = await book.submit("fault.quick", expires_in=0.1)
    async with run_worker(slots=0) as worker:
        await eventually(lambda: _led_by(book, worker.process.id))
        await book.becomes(expired, JobStatus.CANCELLED)
        assert (await book.get(job_id)).status == JobStatus.PENDING
        (row,) = await book.workers()
        assert (row["slots"], row["priorities"], row["tasks"]) == (0, [], "{}")
    assert worker.process.room.started == 0


async def _led_by(book: JobBook, worker: object) -> bool:
    return await book.leader() == worker


async def test_a_leader_that_drains_resigns(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker(leader=3600.0) as worker:
        await eventually(lambda: _led_by(book, worker.process.id))
        await worker.drain()
        await worker.ended()
        assert await book.leader() is None


async def test_a_worker_waits_for_a_database_without_a_schema(
    run_worker: RunWorker, book: JobBook, empty_database_url: str
) -> None:
    running = asyncio.create_task(_run_briefly(run_worker, empty_database_url))
    await upgrade(empty_database_url)
    await running


async def test_a_worker_of_the_release_before_works_on_where_a_newer_one_has_migrated(
    run_worker: RunWorker, book: JobBook
) -> None:
    before = await book.execute("SELECT version_num FROM errander.alembic_version")
    await book.execute("UPDATE errander.alembic_version SET version_num = '9999'")
    async with run_worker(migrate="auto"):
        await book.succeeds(await book.submit("fault.quick"))
    assert await book.execute("SELECT version_num FROM errander.alembic_version") == "9999" != before


async def _run_briefly(run_worker: RunWorker, url: str) -> None:
    async with await Database.open(url, size=2) as database, run_worker(database_url=url) as worker:
        book = JobBook(database)
        await book.succeeds(await book.submit("fault.quick"))
        await book.execute("UPDATE errander.workers SET drain_requested_at = now()")
        await worker.ended()


def test_a_lease_shorter_than_four_beats_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 4 times"):
        WorkerSettings(database_url="postgresql://x", redis_url="redis://x", lease=10, heartbeat=3)
