"""Keys: how they are written, how long they are held, and which answers are never kept under one."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from db.engine import Database
from db.jobs import NewJob
from service.main import create_app
from service.submit.accepting import Accepting
from service.submit.submission import Submission, new_id
from tests.api.conftest import running, settings_for
from tests.api.problems import pointers, problem
from tests.api.test_idempotency import batch, count, submit
from tests.fixtures.jobs import JobBook

# -- how a key is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("order-42", "order-42"),
        ('"order-42"', "order-42"),
        ('  "order-42"  ', "order-42"),
        ('"order-42";a=1', "order-42"),
        ('"order-42";a; b=tok/en;c="x\\"y";d=?1;e=-1.5;f=:YQ==:', "order-42"),
        (r'"say \"hi\""', None),  # a space is in no key
        (r'"a\"b\\c"', r'a"b\c'),
        (r"a\b", r"a\b"),
        ("a;b=1", "a;b=1"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"' + "x" * 255 + '"', "x" * 255),
        ('"' + "x" * 256 + '"', None),
        ('"a', None),
        ('"a"b"', None),
        (r'"a\b"', None),
        ('"a" ;b=1', None),
        ('"a";', None),
        ('"a";B=1', None),
        ('"a";b=', None),
        ('"a", "b"', None),
        ('"a"x', None),
        ('"', None),
    ],
)
async def test_a_key_is_a_structured_string_or_stands_as_it_is(
    api: httpx.AsyncClient, header: str, key: str | None
) -> None:
    answer = await submit(api, header)
    if key is None:
        assert pointers(answer) == {"Idempotency-Key": "format"}
    else:
        assert (answer.status_code, answer.json()["idempotency_key"]) == (202, key)


async def test_two_keys_in_one_request_are_refused(api: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "a"), ("Content-Type", "application/json")]
    answer = await api.post("/v1/jobs", content=b'{"task": "demo.echo"}', headers=headers)
    assert pointers(answer) == {"Idempotency-Key": "format"}


async def test_a_line_end_is_part_of_no_key_and_of_no_id(api: httpx.AsyncClient) -> None:
    answer = await batch(api, {"idempotency_key": "a\n"})
    assert pointers(answer) == {"/jobs/0/idempotency_key": "format"}
    job = (await submit(api, "a")).json()
    problem(await api.get(f"/v1/jobs/{job['id']}%0A"), "not-found", 404)
    problem(await api.post("/v1/queues/gpu%0A:low/pause"), "not-found", 404)


# -- how long it is held -----------------------------------------------------------------------------------------------


async def test_a_replay_of_the_job_holds_its_key_longer(api: httpx.AsyncClient, book: JobBook) -> None:
    first = (await submit(api, "k")).json()
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '25 hours' RETURNING id")
    assert (await api.post(f"/v1/jobs/{first['id']}/replay")).status_code == 200
    again = await submit(api, "k")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first, "true")
    problem(await submit(api, "k", priority="high"), "idempotency-key-reused", 422)
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    assert (await submit(api, "k")).json() == first, "it ended anew, so the hours begin anew"
    assert await count(book) == 1


async def test_how_long_a_key_is_held_is_a_setting(
    database_url: str, redis_url: str, database: Database, book: JobBook
) -> None:
    del database
    async with running(create_app(settings_for(database_url, redis_url, idempotency_hours=2))) as api:
        first = (await submit(api, "k")).json()
        await api.post(f"/v1/jobs/{first['id']}/cancel")
        await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '119 minutes' RETURNING id")
        assert (await submit(api, "k")).json()["id"] == first["id"]
        await book.execute("UPDATE errander.jobs SET finished_at = now() - interval '121 minutes' RETURNING id")
        assert (await submit(api, "k")).json()["id"] != first["id"]


# -- what is never kept ------------------------------------------------------------------------------------------------


async def test_a_refused_submit_keeps_nothing_under_its_key(api: httpx.AsyncClient, book: JobBook) -> None:
    key = {"Idempotency-Key": "k"}
    problem(await submit(api, "k", priority="urgent"), "validation-failed", 422)
    problem(await api.post("/v1/jobs", json={"task": "demo.ecko"}, headers=key), "unknown-task", 422)
    broken = await api.post("/v1/jobs", content=b"{", headers=key | {"Content-Type": "application/json"})
    problem(broken, "malformed-json", 400)
    problem(await submit(api, "k", payload={"x": "x" * 1024 * 1024}), "payload-too-large", 413)
    assert await book.execute("SELECT count(*) FROM errander.idempotency_keys") == 0
    answer = await submit(api, "k")
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)


async def test_a_failed_submit_keeps_nothing_under_its_key(api: httpx.AsyncClient, book: JobBook) -> None:
    await book.execute("ALTER TABLE errander.ready RENAME TO elsewhere")
    problem(await submit(api, "k"), "unavailable", 503)
    problem(await batch(api, {"idempotency_key": "k"}, key="b"), "unavailable", 503)
    await book.execute("ALTER TABLE errander.elsewhere RENAME TO ready")
    answers = [await submit(api, "k", payload={"other": 1}), await batch(api, {}, key="b")]
    for answer in answers:
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)
    assert await count(book) == 2


# -- whose it is -------------------------------------------------------------------------------------------------------


def submission() -> Submission:
    """A job under the key `k`; its content is the same each time."""
    job = NewJob(
        *(new_id(), "demo.echo", "default", "default"),
        payload="{}",
        max_attempts=1,
        max_crashes=1,
        timeout=1.0,
        backoff="{}",
        idempotency_key="k",
    )
    return Submission(job, {"/task": "t"})


async def test_one_key_in_two_tenants_is_two_jobs_even_in_one_commit(
    app: FastAPI, api: httpx.AsyncClient, book: JobBook
) -> None:
    del api
    accepting: Accepting = app.state.services.accepting
    tenants = ["acme", "other"] * 10
    found = await asyncio.gather(*(accepting.accept_keyed(tenant, submission()) for tenant in tenants))
    made = {
        tenant: {one.id for one, whose in zip(found, tenants, strict=True) if whose == tenant} for tenant in tenants
    }
    assert [len(ids) for ids in made.values()] == [1, 1]
    assert not made["acme"] & made["other"]
    assert await count(book) == 2
