"""Keys: one job, however often and by however many it is submitted."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from db.engine import Database
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running
from tests.api.problems import pointers, problem
from tests.fixtures.jobs import JobBook


async def submit(api: httpx.AsyncClient, key: str, **fields: Any) -> httpx.Response:
    return await api.post("/v1/jobs", json={"task": "demo.echo", **fields}, headers={"Idempotency-Key": key})


async def count(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))


async def test_the_second_submit_gets_the_first_answer(api: httpx.AsyncClient, book: JobBook) -> None:
    first = await submit(api, "order-42", payload={"n": 1}, delay=3600)
    again = await submit(api, '"order-42"', payload={"n": 1}, delay=3600)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    assert again.json() == first.json()
    assert first.json()["idempotency_key"] == "order-42"
    assert await count(book) == 1


async def test_a_hundred_racing_submits_make_one_job(api: httpx.AsyncClient, book: JobBook) -> None:
    answers = await asyncio.gather(*(submit(api, "race", payload={"n": 1}) for _ in range(100)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert await count(book) == 1


async def test_the_kept_answer_is_that_of_the_submit_whatever_happened_since(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    first = (await submit(api, "k", payload={"n": 1}, delay=3600, expires_in=7200)).json()
    path = f"/v1/jobs/{first['id']}"
    edit = {
        "payload": {"n": 2},
        "priority": "high",
        "tags": ["x"],
        "run_at": "2039-01-01T00:00:00Z",
        "expires_at": None,
    }
    assert (await api.patch(path, json=edit)).status_code == 200
    assert (await api.post(f"{path}/cancel", json={"reason": "no"})).json()["status"] == "CANCELLED"
    assert (await api.post(f"{path}/replay", json={"payload": {"n": 3}, "max_attempts": 9})).status_code == 200
    assert (await submit(api, "k", payload={"n": 1}, delay=3600, expires_in=7200)).json() == first
    assert (await api.get(path)).json()["payload"] == {"n": 3}
    assert await count(book) == 1


async def test_other_content_is_refused_and_says_where_it_differs(api: httpx.AsyncClient) -> None:
    first = (await submit(api, "k", payload={"a": 1, "b": 2}, tags=["x"])).json()
    answer = await submit(api, "k", payload={"a": 1, "b": 3}, priority="high")
    found = problem(answer, "idempotency-key-reused", 422)
    assert found["differs"] == ["/payload/b", "/priority", "/tags"]
    assert found["job_id"] == first["id"]


async def test_content_is_what_was_sent_and_not_what_was_resolved(api: httpx.AsyncClient) -> None:
    assert (await submit(api, "k")).status_code == 202
    found = problem(await submit(api, "k", priority="default"), "idempotency-key-reused", 422)
    assert found["differs"] == ["/priority"]


async def test_a_key_that_is_being_stored_answers_409_within_a_moment(
    api: httpx.AsyncClient, database: Database
) -> None:
    async with database.begin() as link:
        await link.executor.execute(
            "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
            " VALUES ('default', 'POST /v1/jobs', 'k', '{}', '{}', now())"
        )
        answer = await asyncio.wait_for(submit(api, "k"), 2)
        problem(answer, "idempotency-in-flight", 409)
        assert answer.headers["retry-after"] == "1"
        batch = await asyncio.wait_for(
            api.post("/v1/jobs/batch", json={"jobs": [{"task": "demo.echo", "idempotency_key": "k"}]}), 2
        )
        problem(batch, "idempotency-in-flight", 409)


async def test_a_submit_whose_rival_gives_up_gets_the_key(api: httpx.AsyncClient, database: Database) -> None:
    class GivesUpError(Exception):
        pass

    with pytest.raises(GivesUpError):
        async with database.begin() as link:
            await link.executor.execute(
                "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
                " VALUES ('default', 'POST /v1/jobs', 'k', '{}', '{}', now())"
            )
            waiting = asyncio.create_task(submit(api, "k"))
            await asyncio.wait([waiting], timeout=0.05)
            raise GivesUpError
    assert (await waiting).status_code == 202


async def test_a_key_is_free_again_when_its_job_has_been_final_for_long(api: httpx.AsyncClient, book: JobBook) -> None:
    first = (await submit(api, "k")).json()
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    assert (await submit(api, "k")).json()["id"] == first["id"]
    await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '25 hours' RETURNING id")
    answers = await asyncio.gather(*(submit(api, "k", payload={"new": 1}) for _ in range(10)))
    made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(made) == 1
    assert made != {first["id"]}
    assert await count(book) == 2


async def test_a_key_whose_job_is_gone_is_free_again(api: httpx.AsyncClient, book: JobBook) -> None:
    first = (await submit(api, "k")).json()
    await book.execute("WITH r AS (DELETE FROM errander.ready) DELETE FROM errander.jobs RETURNING id")
    assert (await submit(api, "k")).json()["id"] != first["id"]


async def test_a_repeated_submit_that_waits_answers_like_a_read(api: httpx.AsyncClient) -> None:
    first = (await submit(api, "k")).json()
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    answer = await api.post("/v1/jobs?wait=5", json={"task": "demo.echo"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    assert answer.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["", '""', "with space", "x" * 256, "tab\tbed"])
async def test_a_malformed_key_is_refused(api: httpx.AsyncClient, key: str) -> None:
    assert pointers(await submit(api, key)) == {"Idempotency-Key": "format"}


async def test_two_processes_share_the_keys(api: httpx.AsyncClient, settings: ApiSettings, book: JobBook) -> None:
    async with running(create_app(settings)) as other:
        answers = await asyncio.gather(*(submit(client, "k") for _ in range(10) for client in (api, other)))
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert await count(book) == 1


# -- batches -----------------------------------------------------------------------------------------------------------


async def batch(api: httpx.AsyncClient, *jobs: dict[str, Any], key: str | None = None) -> httpx.Response:
    items = [{"task": "demo.echo", **job} for job in jobs]
    return await api.post("/v1/jobs/batch", json={"jobs": items}, headers={"Idempotency-Key": key} if key else {})


async def test_the_key_of_a_batch_covers_all_of_it(api: httpx.AsyncClient, book: JobBook) -> None:
    jobs: list[dict[str, Any]] = [{"payload": {"n": n}} for n in range(3)]
    first = await batch(api, *jobs, key="b")
    again = await batch(api, *jobs, key="b")
    assert again.headers["idempotency-replayed"] == "true"
    assert [job["id"] for job in again.json()["jobs"]] == [job["id"] for job in first.json()["jobs"]]
    assert await count(book) == 3
    found = problem(await batch(api, *jobs[:2], {"payload": {"n": 9}}, key="b"), "idempotency-key-reused", 422)
    assert found["differs"] == ["/jobs/2"]


async def test_a_key_of_an_item_is_a_key_of_single_submits(api: httpx.AsyncClient, book: JobBook) -> None:
    single = (await submit(api, "k", payload={"n": 1})).json()
    found = (await batch(api, {"payload": {"n": 1}, "idempotency_key": "k"}, {"payload": {"n": 2}})).json()["jobs"]
    assert (found[0]["id"], found[0]["replayed"], found[1]["replayed"]) == (single["id"], True, False)
    in_batch = (await batch(api, {"idempotency_key": "other", "delay": 60})).json()["jobs"][0]
    again = await submit(api, "other", delay=60)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (in_batch["id"], "true")
    assert again.json()["run_at"] > again.json()["created_at"]
    assert await count(book) == 3


async def test_two_items_with_one_key_are_one_job(api: httpx.AsyncClient, book: JobBook) -> None:
    found = (await batch(api, {"idempotency_key": "k"}, {"idempotency_key": "k"})).json()["jobs"]
    assert found[0]["id"] == found[1]["id"]
    assert [job["replayed"] for job in found] == [False, True]
    assert await count(book) == 1


async def test_two_items_with_one_key_and_other_content_refuse_the_batch(api: httpx.AsyncClient, book: JobBook) -> None:
    answer = await batch(api, {"idempotency_key": "k"}, {"idempotency_key": "k", "payload": {"n": 1}})
    assert pointers(answer) == {"/jobs/1/idempotency_key": "idempotency-key-reused"}
    assert await count(book) == 0


async def test_a_reused_key_of_an_item_refuses_the_whole_batch(api: httpx.AsyncClient, book: JobBook) -> None:
    await submit(api, "k", payload={"n": 1})
    answer = await batch(api, {"payload": {"n": 5}}, {"payload": {"n": 2}, "idempotency_key": "k"}, key="whole")
    assert pointers(answer) == {"/jobs/1/idempotency_key": "idempotency-key-reused"}
    assert await count(book) == 1
    # nothing of it is left, its own key neither
    assert (await batch(api, {"payload": {"n": 5}}, key="whole")).status_code == 202


async def test_racing_batches_with_the_same_keys_never_double_a_job(api: httpx.AsyncClient, book: JobBook) -> None:
    keys = [f"k{n}" for n in range(20)]
    forwards = [{"idempotency_key": key} for key in keys]
    answers = await asyncio.gather(
        *(batch(api, *(forwards if n % 2 else reversed(forwards)), key=f"b{n}") for n in range(10))
    )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert any(answer.status_code == 202 for answer in answers)
    assert await count(book) == 20
    assert all(UUID(job["id"]) for answer in answers if answer.status_code == 202 for job in answer.json()["jobs"])
