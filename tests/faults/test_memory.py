"""Jobs that take all memory end in the dead letter, alone, whether the kernel kills for it or refuses."""

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.memory import killed_above, refused_above
from tests.faults.processes import ERRANDER, Fleet
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

LIMIT = 400  # megabytes; a worker and a child of its need about half
TOO_MUCH = 800


async def test_a_job_for_which_the_kernel_kills_its_worker_ends_failed_and_its_neighbours_succeed(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    with killed_above(LIMIT) as wrap:
        (worker,) = [await fleet.start(command=wrap(*ERRANDER)).ready()]
        neighbours = await book.submit_many("fault.sleep", [{"seconds": 0.5}] * 10)
        eater = await book.submit("fault.eat", {"megabytes": TOO_MUCH}, max_crashes=2)
        assert await worker.ended() == -9
        (other,) = [await fleet.start(command=wrap(*ERRANDER)).ready()]
        record = await book.becomes(eater, JobStatus.FAILED, timeout=30)
        assert [error["kind"] for error in errors(record)] == ["lost", "crash"]
        assert "SIGKILL" in errors(record)[-1]["message"]
        assert {record.failures for record in await book.succeeds(*neighbours)} == {0}
        assert other.alive
        assert len(other.ids) == 1
        other.kill()


async def test_a_job_that_is_refused_memory_fails_and_its_worker_goes_on(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    command = refused_above(8_000)(*ERRANDER)
    worker = await fleet.start(command=command).ready()
    eater = await book.submit("fault.eat", {"megabytes": 16_000}, max_attempts=1)
    record = await book.becomes(eater, JobStatus.FAILED)
    assert [(error["kind"], error["type"]) for error in errors(record)] == [("error", "MemoryError")]
    await book.succeeds(await book.submit("fault.quick"))
    await eventually(lambda: len(ledger.ends()) == 2)
    assert len(worker.ids) == 1
