"""The retry of a job whose code could not be stopped waits until the process that still runs that code has left."""

import pytest

from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults


async def test_a_stuck_job_with_a_short_backoff_does_not_start_beside_itself(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    # the outcome is committed a second before the process leaves, as on a machine that has much else to do
    rules = failpoints.settings("ending.written:sleep(1),ending.leaving:sleep(0)")
    failpoints.now()
    await fleet.ready(2, **rules)
    stuck = await book.submit("fault.never", timeout=0.3, max_attempts=2)
    await eventually(lambda: len(ledger.starts(stuck)) == 2, 40)
    before, after = ledger.starts(stuck)
    left = [one.at for one in failpoints.fired() if one.name == "ending.leaving" and one.pid == before.pid]
    assert left
    assert left[0] <= after.at, "the second attempt began while the code of the first one still ran"
    await book.final([stuck])
