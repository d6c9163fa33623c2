"""A deploy costs a job nothing: SIGTERM lets jobs end, gives back the rest and ends the process."""

import signal
import time

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.processes import ARQ, ERRANDER, SILENCE, Fleet
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("command", [ERRANDER, ARQ], ids=["errander", "arq"])
async def test_sigterm_gives_a_long_job_back_and_spends_no_budget(
    fleet: Fleet, book: JobBook, ledger: Ledger, command: tuple[str, ...]
) -> None:
    worker = await fleet.start(command=command, drain_seconds=2).ready()
    job_id = await book.submit("fault.sleep", {"seconds": 60})
    short = await book.submit("fault.sleep", {"seconds": 1})
    await eventually(lambda: len(ledger.starts()) == 2)
    told_at = time.monotonic()
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert time.monotonic() - told_at < 2 + 5
    record = await book.get(job_id)
    assert (record.status, record.attempt, record.failures, record.crashes) == (JobStatus.PENDING, 1, 0, 0)
    assert (await book.get(short)).status == JobStatus.SUCCESS
    assert await book.leader() is None
    await fleet.ready()
    await eventually(lambda: len(ledger.starts(job_id)) == 2)
    ledger.check(silence=SILENCE)


@pytest.mark.parametrize("task", ["fault.thread", "fault.deaf", "fault.process"])
async def test_sigterm_ends_even_code_that_cannot_be_stopped(
    fleet: Fleet, book: JobBook, ledger: Ledger, task: str
) -> None:
    (worker,) = await fleet.ready(drain_seconds=0.5)
    job_id = await book.submit(task, {"seconds": 60})
    await eventually(lambda: ledger.starts(job_id), 30)
    told_at = time.monotonic()
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert time.monotonic() - told_at < 0.5 + 5
    record = await book.get(job_id)
    assert (record.status, record.failures, record.crashes) == (JobStatus.PENDING, 0, 0)
    assert await book.workers() == []


async def test_sigterm_ends_a_job_that_may_run_only_once_as_lost(fleet: Fleet, book: JobBook, ledger: Ledger) -> None:
    (worker,) = await fleet.ready(drain_seconds=0.3, slots=1)
    job_id = await book.submit("fault.sleep", {"seconds": 60}, max_crashes=1)
    await eventually(lambda: ledger.starts(job_id))
    worker.send(signal.SIGTERM)
    await worker.ended()
    record = await book.get(job_id)
    assert (record.status, [error["kind"] for error in errors(record)]) == (JobStatus.FAILED, ["lost"])
    await fleet.ready()
    await book.succeeds(await book.submit("fault.quick"))
    assert len(ledger.starts(job_id)) == 1


async def test_a_second_sigterm_does_not_wait_for_jobs(fleet: Fleet, book: JobBook, ledger: Ledger) -> None:
    (worker,) = await fleet.ready(drain_seconds=60)
    job_id = await book.submit("fault.sleep", {"seconds": 60})
    await eventually(lambda: ledger.starts(job_id))
    worker.send(signal.SIGTERM)
    await eventually(lambda: '"why": "drain"' in worker.log)
    worker.send(signal.SIGTERM)
    assert await worker.ended(10) == 0
    assert (await book.get(job_id)).status == JobStatus.PENDING


async def test_a_rolling_restart_under_load_loses_nothing_and_charges_nothing(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    old = await fleet.ready(2, slots=10)
    ids = await book.submit_many("fault.sleep", [{"seconds": 0.1}] * 400)
    for worker in old:
        await eventually(lambda: len(ledger.ends()) > 20)
        fleet.start(slots=10)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    records = await book.succeeds(*ids, timeout=60)
    assert {(record.failures, record.crashes) for record in records} == {(0, 0)}
    ledger.check(silence=SILENCE)


async def test_sigterm_before_postgresql_was_ever_reached_ends_the_process(fleet: Fleet) -> None:
    worker = fleet.start(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    await eventually(lambda: "worker.waiting" in worker.log, 30)
    worker.send(signal.SIGTERM)
    assert await worker.ended(10) == 0
