"""What an attempt ends with, and what that makes of its job."""

import json
from uuid import UUID, uuid4

import pytest

from db import tasks, workers
from db.lifecycle import JobStatus
from db.tasks import Announcement
from db.workers import WorkerRow
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, errors, result
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker

GROWING = '{"kind": "exponential", "base": 0.05, "factor": 2.0, "max": 60, "jitter": 0.0}'


@pytest.mark.parametrize("task", ["fault.sleep", "fault.thread", "fault.process"])
async def test_code_that_returns_is_a_success(run_worker: RunWorker, book: JobBook, task: str) -> None:
    async with run_worker():
        (record,) = await book.succeeds(await book.submit(task, {"seconds": 0.0}))
    assert (record.attempt, record.failures, record.crashes) == (1, 0, 0)
    assert record.finished_at is not None
    assert await book.events(record.id) == []


async def test_failures_are_retried_after_growing_waits(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        job_id = await book.submit("fault.flaky", {"failures": 4}, backoff=GROWING)
        (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.failures) == (5, 4)
    assert await book.waits(job_id) == pytest.approx([0.05, 0.1, 0.2, 0.4], abs=0.001)
    assert [error["kind"] for error in errors(record)] == ["error"] * 4
    assert [error["attempt"] for error in errors(record)] == [1, 2, 3, 4]
    assert errors(record)[-1]["message"] == "failure 4"


async def test_the_last_failure_is_final(run_worker: RunWorker, book: JobBook, ledger: Ledger) -> None:
    async with run_worker():
        job_id = await book.submit("fault.raise", max_attempts=3)
        (record,) = await book.final([job_id])
    assert (record.status, record.failures, record.attempt) == (JobStatus.FAILED, 3, 3)
    assert "DeliberateError" in errors(record)[-1]["traceback"]
    assert len(ledger.starts()) == 3


async def test_a_snooze_costs_nothing(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        job_id = await book.submit("fault.snooze", {"times": 3, "defer": 0.05}, max_attempts=1)
        (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.failures, record.crashes) == (4, 0, 0)
    assert await book.events(job_id) == ["snoozed"] * 3


@pytest.mark.parametrize("arqs", [False, True])
async def test_a_retry_costs_a_failure_and_waits_as_long_as_it_says(
    run_worker: RunWorker, book: JobBook, arqs: bool
) -> None:
    async with run_worker():
        job_id = await book.submit("fault.retry", {"times": 2, "defer": 0.2, "arqs": arqs})
        (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.failures) == (3, 2)
    assert await book.waits(job_id) == pytest.approx([0.2, 0.2], abs=0.001)


async def test_fail_and_cancel_are_final_at_once(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        ids = [await book.submit("fault.raise", {"how": how}) for how in ("fail", "cancel")]
        failed, cancelled = await book.final(ids)
    assert (failed.status, failed.attempt, errors(failed)[0]["message"]) == (JobStatus.FAILED, 1, "no use")
    assert (cancelled.status, cancelled.cancelled_by) == (JobStatus.CANCELLED, "task")
    assert cancelled.cancel_reason == "not wanted"


@pytest.mark.parametrize("task", ["fault.raise", "fault.raise-in-thread", "fault.raise-in-process"])
async def test_whatever_code_raises_is_a_failure_and_never_the_end_of_the_process(
    run_worker: RunWorker, book: JobBook, task: str
) -> None:
    hows = ["exit", "interrupt", "generator-exit", "cancelled", "stop-iteration", "broken", "nul", "group"]
    async with run_worker() as worker:
        neighbour = await book.submit("fault.sleep", {"seconds": 0.3})
        ids = [await book.submit(task, {"how": how}, max_attempts=1) for how in hows]
        records = await book.final([*ids, neighbour], timeout=30)
        assert not worker.task.done()
        await book.succeeds(await book.submit("fault.quick"))
    assert [record.status for record in records] == ["FAILED"] * len(hows) + ["SUCCESS"]
    for how, record in zip(hows, records, strict=False):
        (error,) = errors(record)
        assert (how, error["kind"]) == (how, "error")
        assert len(error["message"]) <= 2048
        assert len(error["traceback"] or "") <= 16 * 1024


async def test_a_payload_that_the_signature_refuses_is_final(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker():
        loop = await book.submit("fault.sleep", {"seconds": "many"})
        process = await book.submit("fault.process", {})
        records = await book.final([loop, process])
    assert {record.status for record in records} == {JobStatus.FAILED}
    assert [error["kind"] for record in records for error in errors(record)] == ["payload", "payload"]
    assert "/seconds" in errors(records[0])[0]["message"]
    assert ledger.starts() == []


async def test_a_payload_that_another_live_version_takes_is_given_back_at_no_cost(
    run_worker: RunWorker, book: JobBook
) -> None:
    link = book.database.link
    await tasks.announce(link, [Announcement("fault.sleep", "newer", {"type": "object"})])
    other = WorkerRow(uuid4(), "default", ["default"], {"fault.sleep": "newer"}, "host", 1, "0", 1)
    async with run_worker():
        await workers.join(link, other)
        job_id = await book.submit("fault.sleep", {"minutes": 1})
        await eventually(lambda: _has_event(book, job_id, "given-back"))
        record = await book.get(job_id)
    assert (record.status, record.failures, record.crashes) == (JobStatus.PENDING, 0, 0)
    assert (record.run_at - record.created_at).total_seconds() > 4


async def _has_event(book: JobBook, job_id: UUID, event: str) -> bool:
    return event in await book.events(job_id)


async def test_progress_is_seen_while_the_job_runs_and_its_last_word_is_kept(
    run_worker: RunWorker, book: JobBook
) -> None:
    async with run_worker():
        job_id = await book.submit("fault.progress", {"steps": 20, "seconds": 2.0})
        await eventually(lambda: _progress(book, job_id))
        assert (await book.get(job_id)).status == JobStatus.RUNNING
        (record,) = await book.succeeds(job_id)
    kept = json.loads(record.progress or "null")
    assert (kept["done"], kept["total"], kept["message"]) == (20, 20, "step 20")
    assert result(record) == 20


async def _progress(book: JobBook, job_id: UUID) -> bool:
    return (await book.get(job_id)).progress is not None


async def test_tries_that_follow_each_other_at_once_never_overlap(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    # the next claim may be answered before the answer that confirms the attempt before it
    async with run_worker(head=0.02), run_worker(head=0.02):
        ids = await book.submit_many("fault.retry", [{"times": 15}] * 30, max_attempts=100)
        records = await book.succeeds(*ids)
    assert {record.attempt for record in records} == {16}
    assert {record.crashes for record in records} == {0}
    ledger.check(silence=5.0)
    for job_id in ids[:5]:
        assert await book.events(job_id) == ["failed"] * 15
