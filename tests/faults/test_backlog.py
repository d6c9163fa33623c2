"""Work that nobody can do does not stand in the way of work that somebody can."""

import pytest

from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet
from tests.fixtures.jobs import JobBook, seconds_between

pytestmark = pytest.mark.faults

MANY = 50_000


@pytest.mark.parametrize("why", ["unknown task", "paused task", "expired"])
async def test_fifty_thousand_jobs_that_cannot_run_delay_a_job_that_can_by_a_second_at_most(
    fleet: Fleet, book: JobBook, ledger: Ledger, why: str
) -> None:
    await fleet.ready(2, head_seconds=1)
    task = "nobody.has-it" if why == "unknown task" else "fault.sleep"
    if why == "paused task":
        await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('fault.sleep')")
    payloads = [{"seconds": 0}] * MANY
    if why == "expired":
        # not to be ended while they are made
        await book.submit_many(task, payloads, delay=30, expires_in=30)
        await book.execute("UPDATE errander.jobs SET run_at = now() - interval '1 h', expires_at = now()")
        await book.execute("UPDATE errander.ready SET run_at = now() - interval '1 h', expires_at = now()")
    else:
        await book.submit_many(task, payloads)
    (record,) = await book.succeeds(await book.submit("fault.quick"))
    assert seconds_between(record.created_at, record.started_at) <= 1.0
    (later,) = await book.succeeds(await book.submit("fault.quick", delay=1.0))
    assert 0 <= seconds_between(later.run_at, later.started_at) <= 1.0
    assert len(ledger.starts()) == 2
