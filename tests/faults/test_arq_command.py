"""The worker under arq's own command."""

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.processes import ARQ, Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults


async def test_check_tells_whether_a_worker_of_this_kind_is_well(fleet: Fleet, book: JobBook) -> None:
    assert fleet.run(*ARQ, "--check").returncode == 1
    await fleet.start(command=ARQ).ready()
    await eventually(lambda: fleet.run(*ARQ, "--check").returncode == 0, 20)


async def test_watch_is_refused_and_names_what_to_use(fleet: Fleet) -> None:
    done = fleet.run(*ARQ, "--watch", ".")
    assert done.returncode != 0
    assert "errander dev" in done.stderr


async def test_burst_runs_what_is_due_and_exits(fleet: Fleet, book: JobBook) -> None:
    ids = await book.submit_many("fault.quick", [{}] * 30)
    later = await book.submit("fault.quick", delay=60)
    done = fleet.run(*ARQ, "--burst")
    assert done.returncode == 0, done.stderr
    assert await book.counts(ids) == {"SUCCESS": 30}
    assert (await book.get(later)).status == JobStatus.PENDING


@pytest.mark.parametrize("priority", ["high", "default", "low"])
async def test_a_settings_class_of_one_priority_serves_that_one_alone(
    fleet: Fleet, book: JobBook, ledger: Ledger, priority: str
) -> None:
    ids = {p: await book.submit("fault.quick", priority=p) for p in ("high", "default", "low")}
    done = fleet.run(ARQ[0], f"workers.{priority.capitalize()}Settings", "--burst")
    assert done.returncode == 0, done.stderr
    assert [line.job for line in ledger.starts()] == [str(ids[priority])]


async def test_a_worker_of_one_pool_runs_nothing_of_another(fleet: Fleet, book: JobBook, ledger: Ledger) -> None:
    theirs = await book.submit_many("fault.quick", [{}] * 20)
    mine = await book.submit_many("fault.quick", [{}] * 20, pool="gpu")
    done = fleet.run(*ARQ, "--burst", pool="gpu")
    assert done.returncode == 0, done.stderr
    assert await book.counts(mine) == {"SUCCESS": 20}
    assert await book.counts(theirs) == {"PENDING": 20}
    assert len(ledger.starts()) == 20


async def test_a_stock_arq_worker_on_our_queue_runs_none_of_our_jobs(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger
) -> None:
    job_id = await book.submit("fault.quick")
    await hints.publish([Hint(job_id, "default", "default", 0.0)])
    done = fleet.run(ARQ[0], "tests.faults.stock_arq.Settings", "--burst")
    assert "start it with `arq workers.Settings`" in done.stderr, done.stderr
    assert (await book.get(job_id)).attempt == 0
    assert ledger.starts() == []
    await fleet.ready()
    await book.succeeds(job_id)
