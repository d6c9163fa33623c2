"""The queue limit of a tenant: what waits, who is refused and until when, and who never is."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from db.engine import Database
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running
from tests.api.problems import problem
from tests.fixtures.jobs import JobBook
from tests.fixtures.structured import members
from tests.fixtures.waiting import eventually

LIMIT = 10
JOB: dict[str, Any] = {"task": "demo.echo", "payload": {"n": 1}}


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    return settings.model_copy(update={"queue_limit": LIMIT})


@pytest.fixture
async def full(api: httpx.AsyncClient) -> list[str]:
    """Ids of as many jobs as may wait; the first has the key `first`."""
    answers = [await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "first"})]
    answers += [await api.post("/v1/jobs", json=JOB) for _ in range(LIMIT - 1)]
    assert [answer.status_code for answer in answers] == [202] * LIMIT
    assert [members(answer.headers["ratelimit"])["queued-jobs"]["r"] for answer in answers] == list(range(LIMIT))[::-1]
    return [answer.json()["id"] for answer in answers]


def refused(answer: httpx.Response) -> dict[str, Any]:
    found = problem(answer, "quota-exceeded", 429)
    assert found["violated-policies"] == ["queued-jobs"]
    assert members(answer.headers["ratelimit-policy"]) == {"queued-jobs": {"q": LIMIT, "qu": "jobs"}}
    assert found["limit"] == LIMIT
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    return found


async def leave(api: httpx.AsyncClient, ids: list[str]) -> None:
    for job_id in ids:
        assert (await api.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200


async def test_a_full_queue_takes_nothing_until_something_has_left_it(api: httpx.AsyncClient, full: list[str]) -> None:
    answer = await api.post("/v1/jobs", json=JOB)
    found = refused(answer)
    assert (found["waiting"], found["drain_per_second"]) == (LIMIT, 0)
    assert answer.headers["retry-after"] == "60"
    assert members(answer.headers["ratelimit"]) == {"queued-jobs": {"r": 0}}
    await leave(api, full[:3])

    async def taken() -> bool:
        return (await api.post("/v1/jobs", json=JOB)).status_code == 202

    await eventually(taken)
    assert [(await api.post("/v1/jobs", json=JOB)).status_code for _ in range(3)] == [202, 202, 429]


async def test_the_drain_that_was_measured_says_when_to_come_back(api: httpx.AsyncClient, full: list[str]) -> None:
    refused(await api.post("/v1/jobs", json=JOB))
    await leave(api, full[:4])
    body = {"jobs": [JOB] * LIMIT}

    async def measured() -> dict[str, Any] | None:
        found = refused(await api.post("/v1/jobs/batch", json=body))
        return found if found["waiting"] == LIMIT - 4 else None

    found = await eventually(measured)
    assert 0 < found["drain_per_second"] <= 4
    answer = await api.post("/v1/jobs/batch", json=body)
    # Six are too many, and leave at that pace.
    assert int(answer.headers["retry-after"]) >= 6 / 4


async def test_a_repeated_submit_finds_its_answer_however_full_the_queue_is(
    api: httpx.AsyncClient, full: list[str]
) -> None:
    answer = await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "first"})
    assert (answer.status_code, answer.json()["id"]) == (202, full[0])
    assert answer.headers["idempotency-replayed"] == "true"
    other = JOB | {"payload": {"n": 2}}
    problem(await api.post("/v1/jobs", json=other, headers={"Idempotency-Key": "first"}), "idempotency-key-reused", 422)
    refused(await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "second"}))


async def test_a_batch_is_taken_whole_or_refused_whole(api: httpx.AsyncClient, book: JobBook) -> None:
    assert (await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 6})).status_code == 202
    found = refused(await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 5}))
    assert found["waiting"] == 6
    assert (await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 4})).status_code == 202
    assert await book.database.link.executor.fetchval("SELECT count(*) FROM errander.ready") == LIMIT
    assert "never fits" in refused(await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 11}))["detail"]


async def test_of_a_batch_only_the_jobs_that_it_would_make_count(api: httpx.AsyncClient, full: list[str]) -> None:
    headers = {"Idempotency-Key": "whole"}
    known = {"jobs": [JOB | {"idempotency_key": "first"}]}
    # It makes no job, so its own key is stored however full the queue is, and found again.
    assert (await api.post("/v1/jobs/batch", json=known, headers=headers)).json()["jobs"][0]["id"] == full[0]
    answer = await api.post("/v1/jobs/batch", json=known, headers=headers)
    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (202, "true")
    more = {"jobs": [*known["jobs"], JOB | {"idempotency_key": "new"}, JOB | {"idempotency_key": "new"}]}
    refused(await api.post("/v1/jobs/batch", json=more))
    await leave(api, full[1:2])

    async def taken() -> bool:
        return (await api.post("/v1/jobs/batch", json=more)).status_code == 202

    await eventually(taken)
    refused(await api.post("/v1/jobs", json=JOB))


async def test_refused_and_failed_submits_take_no_room(api: httpx.AsyncClient) -> None:
    for _ in range(LIMIT + 1):
        problem(await api.post("/v1/jobs", json={"task": "no.such"}), "unknown-task", 422)
    answer = await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 5 + [{"task": "demo.sleep", "payload": {}}]})
    problem(answer, "validation-failed", 422)
    assert (await api.post("/v1/jobs/batch", json={"jobs": [JOB] * LIMIT})).status_code == 202


@pytest.fixture
async def two(settings: ApiSettings, database: Database) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two API processes over the same stores."""
    del database
    async with running(create_app(settings)) as one, running(create_app(settings)) as other:
        yield [one, other]


async def test_a_replay_needs_room_like_a_submit(api: httpx.AsyncClient, full: list[str], book: JobBook) -> None:
    async def waiting() -> int:
        return int(await book.execute("SELECT count(*) FROM errander.jobs WHERE status = 'PENDING'"))

    one, *_ = full
    await leave(api, full[:4])
    await eventually(lambda: submitted(api, 4))
    refused(await api.post(f"/v1/jobs/{one}/replay"))
    for path in ("/v1/jobs/replay", "/v1/dead-letter/replay"):
        looked = await api.post(path, json={"filter": {}, "dry_run": True})
        assert looked.status_code == 200, "it puts nothing back"
    refused(await api.post("/v1/jobs/replay", json={"filter": {}}))
    assert await waiting() == LIMIT

    await leave(api, full[4:6])

    async def one_fits() -> bool:
        return (await api.post(f"/v1/jobs/{one}/replay")).status_code == 200

    await eventually(one_fits)
    answer = await api.post("/v1/jobs/replay", json={"filter": {}})
    assert (answer.status_code, answer.json()) == (200, {"matched": 1, "changed": 1, "more": True})
    assert members(answer.headers["ratelimit"]) == {"queued-jobs": {"r": 0}}
    refused(await api.post("/v1/jobs/replay", json={"filter": {}}))
    assert await waiting() == LIMIT


async def test_a_replay_that_is_none_is_told_so_however_full_the_queue_is(
    api: httpx.AsyncClient, full: list[str]
) -> None:
    problem(await api.post(f"/v1/jobs/{uuid4()}/replay"), "not-found", 404)
    assert problem(await api.post(f"/v1/jobs/{full[0]}/replay"), "not-replayable", 409)["job_status"] == "PENDING"
    await leave(api, full[:1])
    stale = {"If-Match": '"nothing"'}
    problem(await api.post(f"/v1/jobs/{full[0]}/replay", headers=stale), "precondition-failed", 412)
    await eventually(lambda: submitted(api, 1))
    refused(await api.post(f"/v1/jobs/{full[0]}/replay"))


async def submitted(api: httpx.AsyncClient, jobs: int) -> bool:
    """Whether there was room for a batch of so many."""
    return (await api.post("/v1/jobs/batch", json={"jobs": [JOB] * jobs})).status_code == 202


async def test_several_processes_refuse_once_they_have_counted(two: list[httpx.AsyncClient]) -> None:
    for client in two:
        assert (await client.post("/v1/jobs/batch", json={"jobs": [JOB] * 4})).status_code == 202

    async def refused_by_both() -> bool:
        answers = [await client.post("/v1/jobs/batch", json={"jobs": [JOB] * 3}) for client in two]
        return {answer.status_code for answer in answers} == {429}

    await eventually(refused_by_both)


async def test_postgres_that_is_away_is_said_as_such(settings: ApiSettings) -> None:
    nowhere = SecretStr("postgresql://u:p@127.0.0.1:1/none")
    async with running(create_app(settings.model_copy(update={"database_url": nowhere}))) as api:
        problem(await api.post("/v1/jobs", json=JOB), "unavailable", 503)
