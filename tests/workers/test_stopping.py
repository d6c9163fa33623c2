"""Stopping code from outside: its time is up, or somebody cancelled it."""

from uuid import UUID

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, errors, result, seconds_between
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker


async def _started(ledger: Ledger, job_id: UUID) -> None:
    await eventually(lambda: ledger.starts(job_id), 20)


@pytest.mark.parametrize("task", ["fault.sleep", "fault.polite", "fault.process"])
async def test_code_that_takes_too_long_is_stopped_and_fails(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, task: str
) -> None:
    async with run_worker():
        warm = await book.submit(task, {"seconds": 0.0})  # a child process needs a moment to be there
        await book.succeeds(warm)
        job_id = await book.submit(task, {"seconds": 30}, timeout=0.5, max_attempts=2)
        (record,) = await book.final([job_id])
    assert (record.status, record.failures, record.crashes) == (JobStatus.FAILED, 2, 0)
    assert [error["kind"] for error in errors(record)] == ["timeout", "timeout"]
    # long before its code would have ended by itself
    assert 0.5 <= seconds_between(record.started_at, record.finished_at) < 20


async def test_a_coroutine_that_swallows_its_timeout_has_still_failed(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        job_id = await book.submit("fault.deaf", {"seconds": 0.5}, timeout=0.2, max_attempts=1)
        (record,) = await book.final([job_id])
    assert (record.status, errors(record)[0]["kind"]) == (JobStatus.FAILED, "timeout")
    assert seconds_between(record.started_at, record.finished_at) > 0.6  # its slot was taken until it ended


@pytest.mark.parametrize("task", ["fault.sleep", "fault.polite", "fault.process"])
async def test_running_code_is_cancelled_within_a_second(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, task: str
) -> None:
    async with run_worker():
        job_id = await book.submit(task, {"seconds": 30})
        await _started(ledger, job_id)
        await book.cancel(job_id, "changed my mind")
        record = await book.becomes(job_id, JobStatus.CANCELLED)
    assert (record.cancelled_by, record.cancel_reason) == ("client", "changed my mind")
    assert seconds_between(record.cancel_requested_at, record.finished_at) < 1.5
    assert (record.failures, record.crashes) == (0, 0)


async def test_a_thread_that_does_not_look_runs_to_its_end_and_its_finish_beats_the_cancel(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker():
        job_id = await book.submit("fault.thread", {"seconds": 1.5})
        await _started(ledger, job_id)
        await book.cancel(job_id)
        (record,) = await book.succeeds(job_id)
    assert result(record) == 1.5
    assert record.cancel_requested_at is not None


async def test_a_cancel_beats_a_retry(run_worker: RunWorker, book: JobBook, ledger: Ledger) -> None:
    async with run_worker():
        job_id = await book.submit("fault.fail-later", {"seconds": 1.0})
        await _started(ledger, job_id)
        await book.cancel(job_id)
        record = await book.becomes(job_id, JobStatus.CANCELLED)
    assert len(ledger.starts()) == 1
    assert record.attempt == 1


async def test_jobs_that_wait_for_a_thread_are_cancelled_before_they_start(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker(threads=1):
        first = await book.submit("fault.thread", {"seconds": 1.5})
        await _started(ledger, first)
        second = await book.submit("fault.thread", {"seconds": 0})
        await book.becomes(second, JobStatus.RUNNING)
        await book.cancel(second)
        await book.becomes(second, JobStatus.CANCELLED)
        await book.succeeds(first)
    assert ledger.starts(second) == []


async def test_the_timeout_of_a_job_that_waits_for_a_thread_does_not_run(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker(threads=1):
        ids = await book.submit_many("fault.thread", [{"seconds": 0.4}] * 4, timeout=0.7, max_attempts=1)
        await book.succeeds(*ids)
    ledger.started_once()


async def test_a_waiting_job_that_was_cancelled_never_starts(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    job_id = await book.submit("fault.quick")
    await book.cancel(job_id)
    async with run_worker():
        await book.succeeds(await book.submit("fault.quick"))
    assert ledger.starts(job_id) == []
    assert (await book.get(job_id)).status == JobStatus.CANCELLED
