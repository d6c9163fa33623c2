"""Jobs that kill their process end in the dead letter, alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil
import pytest

from db.lifecycle import JobStatus
from service.chaos.ledger import What
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook, errors, result
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

_LOOK_SECONDS = 0.05


@contextlib.asynccontextmanager
async def supervised(fleet: Fleet, n: int, **settings: object) -> AsyncIterator[None]:
    """Keeps `n` workers running, as a platform does: one that ends is started again."""

    async def keep() -> None:
        workers = [fleet.start(**settings) for _ in range(n)]  # type: ignore[arg-type]
        while True:
            for place, worker in enumerate(workers):
                if not worker.alive:
                    workers[place] = fleet.start(**settings)  # type: ignore[arg-type]
            await asyncio.sleep(_LOOK_SECONDS)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def test_a_killer_ends_failed_and_its_fifty_neighbours_succeed(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    killer = await book.submit("fault.kill")
    innocents = await book.submit_many("fault.sleep", [{"seconds": 0.2}] * 50)
    async with supervised(fleet, 2, slots=12):  # each neighbour that is charged twice costs a process of its own
        record = await book.becomes(killer, JobStatus.FAILED, timeout=60)
        await book.succeeds(*innocents, timeout=60)
    assert (record.crashes, record.attempt, record.failures) == (3, 3, 0)
    assert [error["kind"] for error in errors(record)] == ["lost", "lost", "crash"]
    assert len(ledger.starts(killer)) == 3


async def test_the_last_try_runs_in_a_process_of_its_own(fleet: Fleet, book: JobBook, ledger: Ledger) -> None:
    (worker,) = await fleet.ready()
    suspect = await book.submit("fault.where", max_crashes=2, delay=0.5)
    normal = await book.submit("fault.where")
    await book.execute("UPDATE errander.jobs SET crashes = 1 WHERE id = $1", suspect)
    isolated, plain = await book.succeeds(suspect, normal)
    assert result(plain)["pid"] == worker.pid
    assert result(isolated)["pid"] != worker.pid
    assert result(isolated)["parent"] == worker.pid


async def test_the_death_of_the_worker_around_an_isolated_job_is_free_five_times(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    # lost after silence, isolated from its last try on: no crash of its own, so the worker's deaths cost it nothing
    job_id = await book.submit("fault.sleep", {"seconds": 600}, max_crashes=2, timeout=900)
    await book.execute("UPDATE errander.jobs SET crashes = 1 WHERE id = $1", job_id)
    dead = "INSERT INTO errander.history (job_id, event, status, attempt, detail) SELECT $1, 'rescued', 'RETRYING', 1,"
    await book.execute(f"{dead} '{{\"charged\": false}}' FROM generate_series(1, 4)", job_id)
    await fleet.ready(slots=0)  # it runs nothing, and rescues
    for starts, status, crashes in ((1, JobStatus.RETRYING, 1), (2, JobStatus.FAILED, 2)):
        (worker,) = await fleet.ready()
        await eventually(lambda starts=starts: len(ledger.starts(job_id)) == starts, 30)  # type: ignore[misc]
        worker.kill()
        assert (await book.becomes(job_id, status)).crashes == crashes
    ledger.check(silence=SILENCE)


async def test_a_child_that_dies_under_a_living_worker_is_a_crash_and_harms_no_neighbour(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    neighbours = await book.submit_many("fault.process", [{"seconds": 1.0}] * 3)
    killer = await book.submit("fault.kill-in-process", max_crashes=3)
    record = await book.becomes(killer, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["crash"] * 3
    assert "exit status 3" in errors(record)[0]["message"]
    assert {record.crashes for record in await book.succeeds(*neighbours)} == {0}
    assert worker.alive
    assert len(worker.ids) == 1


async def test_what_a_job_has_started_ends_with_a_worker_that_is_killed(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (victim,) = await fleet.ready(tasks="tests.faults.nasty")
    job_id = await book.submit("nasty.fork", {"how": "fork"})
    beside = await eventually(lambda: [line for line in ledger.lines() if line.what is What.TICK], 30)
    assert beside[0].job == str(job_id)
    process = psutil.Process(beside[0].pid)
    victim.kill()
    await eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5)


async def test_a_segmentation_fault_on_the_last_try_ends_a_child_and_no_worker(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    faulty = await book.submit("fault.segfault", max_crashes=2, delay=0.5)
    await book.execute("UPDATE errander.jobs SET crashes = 1 WHERE id = $1", faulty)
    record = await book.becomes(faulty, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["crash"]
    assert "SIGSEGV" in errors(record)[0]["message"]
    await book.succeeds(await book.submit("fault.quick"))
    assert worker.alive
    assert len(worker.ids) == 1
