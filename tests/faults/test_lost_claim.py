"""A claim whose answer is lost: PostgreSQL says that the worker runs jobs of which it knows nothing."""

from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest

from db.lifecycle import JobStatus
from service.chaos.proxy import Proxy
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))


async def test_jobs_of_a_claim_whose_answer_was_cut_are_given_back_at_no_cost(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger, database_url: str
) -> None:
    async with Proxy("127.0.0.1", urlsplit(database_url).port or 5432) as proxy:
        # slots enough for one claim to take all of them, though a worker that is woken first takes a tenth of its slots
        (worker,) = await fleet.ready(DATABASE_URL=_through(database_url, proxy.port), head_seconds=3600, slots=200)
        ids = await book.submit_many("fault.quick", [{}] * 20)
        proxy.cut_after(ids[7].bytes)  # only a claim by id carries it
        await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
        await eventually(lambda: _waiting_again(book, ids), 20)
        assert proxy.cuts == 1
        await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
        records = await book.succeeds(*ids)
    # the lost claim was a start in PostgreSQL, and no code ran
    assert {(record.attempt, record.failures, record.crashes) for record in records} == {(2, 0, 0)}
    assert await book.events(ids[7]) == ["given-back"]
    assert len(ledger.starts()) == 20
    assert worker.ids == [records[0].worker_id]
    ledger.check(silence=SILENCE)


async def _waiting_again(book: JobBook, ids: list[UUID]) -> bool:
    return {(record.status, record.attempt) for record in await book.get_all(ids)} == {(JobStatus.PENDING, 1)}


async def test_an_outcome_whose_confirmation_was_cut_is_written_once(
    fleet: Fleet, book: JobBook, ledger: Ledger, database_url: str
) -> None:
    async with Proxy("127.0.0.1", urlsplit(database_url).port or 5432) as proxy:
        (worker,) = await fleet.ready(DATABASE_URL=_through(database_url, proxy.port))
        job_id = await book.submit("fault.fail-later", {"seconds": 0.7}, max_attempts=3)
        await eventually(lambda: ledger.starts(job_id))
        proxy.cut_after(b"it failed on purpose")  # only the outcome carries it
        records = await book.final([job_id])
        assert proxy.cuts == 1
    assert (records[0].failures, records[0].attempt) == (3, 3)
    assert await book.events(job_id) == ["failed"] * 3
    assert worker.alive
    ledger.check(silence=SILENCE)
