"""`POST /v1/jobs/batch`: one transaction, all or nothing."""

import asyncio
import contextlib
import gc
import json
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from db import tasks
from db.engine import CLIENT_TIMEOUT, Database, Link
from service.main import CONNECTIONS
from service.submit import batches
from service.submit.accepting import ALONE, KEYED_IN_FLIGHT
from tests.api.problems import pointers, problem
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually


async def batch(api: httpx.AsyncClient, *jobs: Any) -> httpx.Response:
    return await api.post("/v1/jobs/batch", json={"jobs": list(jobs)})


async def count(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))


async def test_jobs_are_answered_in_the_order_they_were_sent(api: httpx.AsyncClient) -> None:
    answer = await batch(api, *({"task": "demo.echo", "payload": {"n": n}} for n in range(50)))
    assert answer.status_code == 202
    found = answer.json()["jobs"]
    assert all(set(job) == {"id", "status", "replayed"} and not job["replayed"] for job in found)
    payloads = [(await api.get(f"/v1/jobs/{job['id']}")).json()["payload"]["n"] for job in found[::10]]
    assert payloads == [0, 10, 20, 30, 40]


async def test_ten_thousand_jobs_are_one_batch(api: httpx.AsyncClient, book: JobBook) -> None:
    answer = await batch(api, *({"task": "demo.echo", "payload": {"n": n}} for n in range(10_000)))
    assert answer.status_code == 202
    assert len({job["id"] for job in answer.json()["jobs"]}) == 10_000
    assert await count(book) == 10_000
    assert await book.execute("SELECT count(*) FROM errander.ready") == 10_000


async def test_one_bad_item_refuses_all_and_every_bad_item_is_named(api: httpx.AsyncClient, book: JobBook) -> None:
    good = {"task": "demo.echo"}
    answer = await batch(
        api, good, {"task": "demo.sleep", "payload": {"seconds": "x"}}, good, {"task": "nobody"}, {"taks": 1}, 7
    )
    # an item that is no object makes the body wrong before its items are looked at
    assert pointers(answer) == {"/jobs/5": "dict-type"}
    answer = await batch(
        api, good, {"task": "demo.sleep", "payload": {"seconds": "x"}}, good, {"task": "nobody"}, {"taks": 1}
    )
    assert pointers(answer) == {
        "/jobs/1/payload/seconds": "type",
        "/jobs/3/task": "unknown-task",
        "/jobs/4/task": "required",
        "/jobs/4/taks": "unknown-field",
    }
    assert await count(book) == 0


async def test_a_batch_whose_last_items_are_wrong_leaves_nothing_of_the_parts_that_were_stored(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    good = [{"task": "demo.echo"}] * 5_000
    answer = await batch(api, *good, {"task": "nobody"}, {"task": "demo.echo", "pool": 5})
    assert pointers(answer) == {"/jobs/5000/task": "unknown-task", "/jobs/5001/pool": "string-type"}
    assert await count(book) == 0
    assert await book.execute("SELECT count(*) FROM errander.ready") == 0
    answer = await batch(api, *good)
    ids = [job["id"] for job in answer.json()["jobs"]]
    assert len(set(ids)) == await count(book) == 5_000
    assert ids == sorted(ids)


async def test_what_the_database_refuses_beside_what_we_refuse_is_not_an_error_nobody_looks_at(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    await book.execute("ALTER TABLE errander.jobs ADD CONSTRAINT odd CHECK (payload ->> 'n' IS DISTINCT FROM 'odd')")
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    odd = {"task": "demo.echo", "payload": {"n": "odd"}}
    answer = await batch(api, odd, *[{"task": "demo.echo"}] * 1_500, {"task": "demo.echo", "pool": 5})
    assert pointers(answer) == {"/jobs/1501/pool": "string-type"}
    answer = await batch(api, *[{"task": "demo.echo"}] * 1_500, odd)
    assert pointers(answer) == {"/jobs/1500": "not-storable"}
    assert await count(book) == 0
    gc.collect()
    assert unseen == []


async def test_at_most_a_hundred_errors_are_listed(api: httpx.AsyncClient) -> None:
    answer = await batch(api, *({"task": "nobody"} for _ in range(150)))
    found = problem(answer, "validation-failed", 422)
    assert len(found["errors"]) == 100
    assert "149 more" in found["detail"]


async def test_an_empty_or_overlong_batch_is_refused(api: httpx.AsyncClient) -> None:
    assert pointers(await batch(api)) == {"/jobs": "too-short"}
    assert pointers(await batch(api, *([{"task": "demo.echo"}] * 10_001))) == {"/jobs": "too-long"}


async def test_a_batch_may_be_larger_than_a_single_body_but_not_without_bound(api: httpx.AsyncClient) -> None:
    big = {"task": "demo.echo", "payload": {"text": "x" * 700_000}}
    assert (await batch(api, big, big)).status_code == 202
    body = json.dumps({"jobs": [big] * 50})
    answer = await api.post("/v1/jobs/batch", content=body, headers={"content-type": "application/json"})
    problem(answer, "payload-too-large", 413)


async def test_a_batch_of_many_unknown_tasks_asks_the_catalogue_once(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = tasks.catalogue

    async def counted(link: Link, lease: float) -> list[tasks.Known]:
        nonlocal asked
        asked += 1
        return await real(link, lease)

    monkeypatch.setattr(tasks, "catalogue", counted)
    problem(await batch(api, *({"task": f"nobody-{n}"} for n in range(2_000))), "validation-failed", 422)
    assert asked <= 2


async def test_many_batches_at_once_leave_connections_for_looking_up_their_tasks_and_for_single_submits(
    api: httpx.AsyncClient, app: FastAPI
) -> None:
    app.state.services.catalogue.forget()
    began = time.monotonic()
    *many, single = await asyncio.gather(
        *(batch(api, *[{"task": "demo.echo"}] * 20) for _ in range(30)),
        api.post("/v1/jobs", json={"task": "demo.echo"}),
    )
    assert time.monotonic() - began < CLIENT_TIMEOUT  # nobody has waited for a connection until time was up
    assert {answer.status_code for answer in many} == {202}
    assert single.status_code == 202


async def test_batches_that_wait_for_the_database_do_not_hold_up_whoever_reads(
    api: httpx.AsyncClient, database: Database
) -> None:
    job = (await batch(api, {"task": "demo.echo"})).json()["jobs"][0]["id"]
    async with database.begin() as link:
        await link.executor.execute("LOCK TABLE errander.jobs IN SHARE ROW EXCLUSIVE MODE")
        sent = [asyncio.create_task(batch(api, {"task": "demo.echo"})) for _ in range(30)]
        await eventually(lambda: _are_stuck(database))
        async with asyncio.timeout(CLIENT_TIMEOUT / 4):
            assert (await api.get(f"/v1/jobs/{job}")).status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*sent)} == {202}


def test_batches_and_submits_that_wait_for_a_key_leave_a_connection_to_everybody_else() -> None:
    assert batches.AT_ONCE + ALONE + KEYED_IN_FLIGHT < CONNECTIONS


async def _are_stuck(database: Database) -> bool:
    (row,) = await database.link.executor.fetch("SELECT count(*) AS n FROM pg_locks WHERE NOT granted")
    return int(row["n"]) >= batches.AT_ONCE


async def test_a_batch_whose_turn_does_not_come_is_told_to_come_again(
    api: httpx.AsyncClient, app: FastAPI, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_WAIT_SECONDS", 0.05)
    places = app.state.services.batches._places
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(batches.AT_ONCE):
            await taken.enter_async_context(places)
        answer = await batch(api, {"task": "demo.echo"})
        assert problem(answer, "unavailable", 503)["detail"].startswith("this server is storing")
        assert answer.headers["retry-after"]
    assert await count(book) == 0
    assert (await batch(api, {"task": "demo.echo"})).status_code == 202
