"""Idempotency keys where credentials are asked for: a key is its tenant's, and a refusal is kept for nobody."""

import asyncio
from typing import Any

import httpx

from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running
from tests.api.problems import problem
from tests.auth.conftest import MakeKey, bearer
from tests.fixtures.jobs import JobBook


async def submit(api: httpx.AsyncClient, credential: str, **fields: Any) -> httpx.Response:
    """A submit under the key `k`."""
    headers = bearer(credential) | {"Idempotency-Key": "k"}
    return await api.post("/v1/jobs", json={"task": "demo.echo"} | fields, headers=headers)


async def test_the_same_key_of_two_tenants_is_two_jobs_and_each_gets_its_own_again(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    acme, other = await make_key("submitter", tenant="acme"), await make_key("submitter", tenant="other")
    keys = [acme, other] * 20
    answers = await asyncio.gather(*(submit(api, key, payload={"of": key}) for key in keys))
    assert {answer.status_code for answer in answers} <= {202, 409}
    ids = {
        key: {
            found.json()["id"] for found, whose in zip(answers, keys, strict=True) if whose == key and found.is_success
        }
        for key in (acme, other)
    }
    assert [len(one) for one in ids.values()] == [1, 1]
    assert ids[acme] != ids[other]
    assert await book.execute("SELECT count(*) FROM errander.jobs") == 2
    for key in (acme, other):
        again = await submit(api, key, payload={"of": key})
        assert ({again.json()["id"]}, again.headers["idempotency-replayed"]) == (ids[key], "true")
    # content is compared with one's own only, and so is the key of a batch
    problem(await submit(api, acme, payload={"of": other}), "idempotency-key-reused", 422)
    items = {"jobs": [{"task": "demo.echo", "payload": {"of": other}, "idempotency_key": "k"}]}
    for key, status in ((acme, 422), (other, 202)):
        answer = await api.post("/v1/jobs/batch", json=items, headers=bearer(key) | {"Idempotency-Key": "whole"})
        assert answer.status_code == status
    assert await book.execute("SELECT count(*) FROM errander.jobs") == 2


async def test_another_credential_of_the_tenant_gets_the_same_answer(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    """A key is held for the tenant, so a submit may be repeated after its API key was rotated."""
    former, new = await make_key("submitter"), await make_key("submitter")
    first = await submit(api, former)
    again = await submit(api, new)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")


async def test_a_refusal_by_the_guard_is_not_kept_under_the_key(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    problem(await submit(api, "nothing"), "unauthenticated", 401)
    problem(await submit(api, await make_key("jobs:read")), "forbidden", 403)
    problem(await submit(api, await make_key("submitter", tasks=("email.*",))), "forbidden", 403)
    assert await book.execute("SELECT count(*) FROM errander.idempotency_keys") == 0
    answer = await submit(api, await make_key("submitter"))
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)


async def test_a_refusal_by_a_rate_limit_is_not_kept_under_the_key(
    settings: ApiSettings, make_key: MakeKey, book: JobBook
) -> None:
    narrow = settings.model_copy(update={"rate_limit_key": "1/hour"})
    async with running(create_app(narrow)) as api:
        used, fresh = await make_key("submitter"), await make_key("submitter")
        assert (await api.get("/v1/jobs", headers=bearer(used))).status_code == 200
        problem(await submit(api, used), "quota-exceeded", 429)
        assert await book.execute("SELECT count(*) FROM errander.idempotency_keys") == 0
        answer = await submit(api, fresh)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)
