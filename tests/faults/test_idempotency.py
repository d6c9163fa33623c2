"""One key, two API processes, many at once: one job."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.faults.apis import Api, announce, serving
from tests.faults.processes import Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

CROWD = 200


async def _insisted(api: Api) -> httpx.Response:
    """Submits until the answer is another than that somebody else is under way, as a client does."""

    async def answered() -> httpx.Response | None:
        answer = await api.submit(key="order-42", payload={"n": 1})
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency-in-flight"
            assert int(answer.headers["Retry-After"]) >= 1
            return None
        return answer

    return await eventually(answered)


async def test_two_hundred_submits_over_two_processes_are_one_job(fleet: Fleet, book: JobBook) -> None:
    await announce(book.database)
    async with serving(fleet, {}, {}) as apis:
        answers = await asyncio.gather(*(_insisted(apis[n % 2]) for n in range(CROWD)))
    assert {answer.status_code for answer in answers} == {202}
    documents = [answer.json() for answer in answers]
    assert documents == [documents[0]] * CROWD, "everybody gets the first answer"
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert Counter(answer.headers.get("Idempotency-Replayed") for answer in answers) == {None: 1, "true": CROWD - 1}
    assert await book.execute("SELECT count(*) FROM errander.jobs") == 1
    assert await book.execute("SELECT count(*) FROM errander.ready") == 1
    assert await book.execute("SELECT count(*) FROM errander.idempotency_keys") == 1
