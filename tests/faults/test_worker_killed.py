"""A worker that dies takes nothing with it: its jobs run again elsewhere, and are charged one crash."""

import time

import psutil
import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

# Lease, reaper, a step of the leader and the backoff of a first crash, at the defaults of every setting.
RESCUE_SECONDS = 40.0
DEFAULT_BACKOFF = '{"kind": "exponential", "base": 2.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}'


async def test_jobs_run_again_after_kill_9_of_every_worker_the_leader_among_them(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    first = await fleet.ready(2)
    await eventually(book.leader)
    ids = await book.submit_many("fault.sleep", [{"seconds": 1.0}] * 6)
    await eventually(lambda: len(ledger.starts()) == 6)
    for worker in first:
        worker.kill()
    await fleet.ready(2)
    records = await book.succeeds(*ids)
    assert {(record.crashes, record.attempt, record.failures) for record in records} == {(1, 2, 0)}
    assert [error["kind"] for record in records for error in errors(record)] == ["lost"] * 6
    assert await book.events(ids[0]) == ["rescued"]
    ledger.check(silence=SILENCE)


async def test_the_jobs_of_one_killed_worker_go_to_another_and_the_others_notice_nothing(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    workers = await fleet.ready(3, slots=4)
    ids = await book.submit_many("fault.sleep", [{"seconds": 2.0}] * 12)
    await eventually(lambda: len(ledger.starts()) == 12)
    victim = workers[0]
    theirs = {line.job for line in ledger.starts() if line.pid == victim.pid}
    victim.kill()
    records = await book.succeeds(*ids)
    assert {str(record.id) for record in records if record.crashes} == theirs
    ledger.check(silence=SILENCE)


async def test_at_default_settings_a_killed_fleets_jobs_run_again_within_forty_seconds(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    # The leader is among the killed, and those who take over have seen nothing of them.
    first = [fleet.start(short=False) for _ in range(2)]
    for worker in first:
        await worker.ready()
    await eventually(book.leader, 30)
    ids = await book.submit_many("fault.sleep", [{"seconds": 300}] * 4, timeout=600, backoff=DEFAULT_BACKOFF)
    await eventually(lambda: len(ledger.starts()) == 4)
    killed_at = time.monotonic()
    for worker in first:
        worker.kill()
    fresh = [fleet.start(short=False) for _ in range(2)]
    for worker in fresh:
        await worker.ready()
    await eventually(lambda: len(ledger.starts()) == 8, RESCUE_SECONDS + 20)
    again = [line.at for line in ledger.starts()[4:]]
    assert max(again) - killed_at <= RESCUE_SECONDS
    assert {record.crashes for record in await book.get_all(ids)} == {1}
    ledger.check(silence=25.0)


async def test_a_job_that_may_run_only_once_is_not_started_again_after_kill_9(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (victim,) = await fleet.ready()
    job_id = await book.submit("fault.sleep", {"seconds": 60}, max_crashes=1)
    await eventually(lambda: ledger.starts(job_id))
    victim.kill()
    await fleet.ready()
    record = await book.becomes(job_id, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["lost"]
    await book.succeeds(await book.submit("fault.quick"))
    assert len(ledger.starts(job_id)) == 1


async def test_the_child_process_of_a_killed_worker_does_not_live_on(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (victim,) = await fleet.ready()
    job_id = await book.submit("fault.process", {"seconds": 60})
    await eventually(lambda: ledger.starts(job_id), 30)
    child = psutil.Process(ledger.starts(job_id)[0].pid)
    assert child.ppid() == victim.pid
    victim.kill()
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


async def test_a_cancel_that_was_asked_before_the_worker_died_is_carried_out(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (victim,) = await fleet.ready()
    job_id = await book.submit("fault.thread", {"seconds": 60})
    await eventually(lambda: ledger.starts(job_id))
    await book.cancel(job_id)
    victim.kill()
    await fleet.ready()
    record = await book.becomes(job_id, JobStatus.CANCELLED)
    assert record.cancelled_by == "client"
    assert len(ledger.starts(job_id)) == 1


async def test_jobs_of_a_worker_whose_row_is_gone_are_rescued_too(fleet: Fleet, book: JobBook, ledger: Ledger) -> None:
    (victim,) = await fleet.ready()
    job_id = await book.submit("fault.sleep", {"seconds": 0.5})
    await eventually(lambda: ledger.starts(job_id))
    victim.kill()
    await book.execute("DELETE FROM errander.workers")
    await fleet.ready()
    (record,) = await book.succeeds(job_id)
    assert record.crashes == 1
    ledger.check(silence=SILENCE)


async def test_a_reaper_almost_as_slow_as_two_beats_still_finds_the_dead(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    # looks that lie further apart than two beats start every observation anew
    (victim,) = await fleet.ready(heartbeat_seconds=1, reaper_seconds=1.9, lease_seconds=4)
    job_id = await book.submit("fault.sleep", {"seconds": 0.5})
    await eventually(lambda: ledger.starts(job_id))
    victim.kill()
    await fleet.ready(heartbeat_seconds=1, reaper_seconds=1.9, lease_seconds=4)
    await book.succeeds(job_id, timeout=20)
