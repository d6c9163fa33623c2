"""A worker that is told to leave while a task holds up its event loop."""

import signal

import pytest

from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults


async def test_it_leaves_after_its_drain_and_everything_goes_back_free(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    worker = await fleet.start(drain_seconds=1).ready()
    neighbours = await book.submit_many("fault.sleep", [{"seconds": 30.0}] * 3)
    await eventually(lambda: len(ledger.starts()) == 3)
    blocker = await book.submit("fault.block", {"seconds": 60.0}, timeout=300.0)
    await eventually(lambda: len(ledger.starts(blocker)) == 1)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, "it left, and did not start again"
    assert await book.workers() == []
    for record in await book.get_all([blocker, *neighbours]):
        assert (record.status, record.failures, record.crashes) == (JobStatus.PENDING, 0, 0)
        assert "given-back" in await book.events(record.id)
    ledger.check(silence=SILENCE)
