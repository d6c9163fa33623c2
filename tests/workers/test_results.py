"""Outcomes that cannot be stored fail one job, never its neighbours in the same flush."""

import pytest

from db.lifecycle import JobStatus
from tests.faults.tasks import RESULTS
from tests.fixtures.jobs import JobBook, errors, result
from tests.workers.conftest import RunWorker
from workers import outcomes

BAD = [*RESULTS, "deep", "loop"]


async def test_results_that_cannot_be_stored_fail_only_their_own_jobs(run_worker: RunWorker, book: JobBook) -> None:
    good = await book.submit_many("fault.quick", [{"n": n} for n in range(300)])
    bad = await book.submit_many("fault.result", [{"which": which} for which in BAD])
    async with run_worker(slots=500):
        assert [result(record) for record in await book.succeeds(*good)] == list(range(300))
        records = await book.final(bad)
    for which, record in zip(BAD, records, strict=True):
        assert (which, record.status, record.attempt) == (which, JobStatus.FAILED, 1)
        assert (which, errors(record)[0]["kind"]) == (which, "result")


async def test_a_bad_row_that_slipped_the_checks_is_found_by_splitting(
    run_worker: RunWorker, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = outcomes.encode_result

    def unchecked(value: object) -> str:
        return '"a\\u0000b"' if value in (13, 77) else checked(value)

    monkeypatch.setattr(outcomes, "encode_result", unchecked)
    ids = await book.submit_many("fault.quick", [{"n": n} for n in range(120)])
    async with run_worker(slots=120):
        records = await book.final(ids)
    failed = {n for n, record in enumerate(records) if record.status == JobStatus.FAILED}
    assert failed == {13, 77}
    assert errors(records[13])[0]["kind"] == "result"
    assert all(record.status == JobStatus.SUCCESS for n, record in enumerate(records) if n not in failed)


@pytest.mark.parametrize(
    "backoff",
    [
        '{"kind": "fixed", "base": "soon"}',
        '{"kind": "no such kind"}',
        '{"kind": "exponential", "base": 1e300, "factor": 1000, "max": 1e300, "jitter": 0}',
        "[]",
    ],
)
async def test_a_backoff_that_cannot_be_used_stops_no_neighbour(
    run_worker: RunWorker, book: JobBook, backoff: str
) -> None:
    async with run_worker(slots=20):
        broken = await book.submit("fault.raise", max_attempts=2, backoff=backoff)
        good = await book.submit_many("fault.flaky", [{"failures": 1}] * 10)
        await book.succeeds(*good, timeout=15)
        await book.becomes(broken, JobStatus.FAILED, JobStatus.RETRYING)


async def test_a_plain_value_of_a_model_is_stored_as_json(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        (record,) = await book.succeeds(await book.submit("fault.echo", {"a": [1, {"b": None}], "c": "ü\\u0000"}))
    assert result(record) == {"a": [1, {"b": None}], "c": "ü\\u0000"}
