"""Tenants: every operation, with the ids of another tenant."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from db.engine import Database
from service.main import create_app
from service.openapi.document import build
from service.settings import ApiSettings
from tests.api.conftest import running, settings_for
from tests.api.problems import problem
from tests.auth.conftest import MakeKey, bearer
from tests.fixtures.jobs import JobBook

NOBODYS = "01900000-0000-7000-8000-000000000000"

BODIES: Mapping[str, Any] = {
    "edit_job": {"priority": "high", "payload": {"of": "another"}},
    "replay_job": {"payload": {"of": "another"}},
    "rotate_key": {"overlap": 0},
}
"""What is sent to operations on one object, where an empty body would not do."""

SHARED = {
    *("list_queues", "pause_queue", "resume_queue", "list_tasks", "get_task", "pause_task", "resume_task"),
    *("list_workers", "drain_worker", "get_stats", "get_consistency"),
}
"""Queues, tasks and workers are the installation's; scopes of their own say who may see and manage them."""
OPEN = {"healthz", "readyz", "get_version"}
OWN = {"submit_job", "submit_jobs", "create_key", "create_token"}
"""They make something, for the tenant of the credential."""
LISTS = {"list_jobs", "list_dead_letter", "list_keys", "list_audit", "watch_jobs"}
BULK = {"cancel_jobs", "replay_jobs", "replay_dead_letter"}


def operations(settings: ApiSettings) -> dict[str, tuple[str, str]]:
    """Operation → method and path, as the description of the API has them."""
    found = {}
    for path, methods in build(create_app(settings))["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "operationId" in operation:
                found[operation["operationId"]] = (method.upper(), path)
    return found


@pytest.fixture
async def theirs(api: httpx.AsyncClient, make_key: MakeKey, book: JobBook) -> dict[str, Any]:
    """What tenant `acme` has: jobs in several states, a key, an idempotency key."""
    admin = await make_key("admin", tenant="acme")
    headers = bearer(admin)
    waiting = await api.post(
        "/v1/jobs",
        json={"task": "demo.echo", "payload": {"secret": "of acme"}, "delay": 3600, "tags": ["acme"]},
        headers=headers | {"Idempotency-Key": "order-42"},
    )
    assert waiting.status_code == 202
    failed = (await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=headers)).json()["id"]
    await book.execute("DELETE FROM errander.ready WHERE id = $1", failed)
    await book.execute(
        "UPDATE errander.jobs SET status = 'FAILED', finished_at = now(), failed_at = now() WHERE id = $1", failed
    )
    return {
        "job_id": [waiting.json()["id"], failed],
        "key_id": [admin.split("_")[1]],
        "headers": headers,
        "state": await everything(book),
    }


async def everything(book: JobBook) -> str:
    """All rows of all tables that belong to a tenant."""
    return json.dumps(
        [
            await book.execute(f"SELECT CAST(jsonb_agg(t ORDER BY t.id) AS text) FROM errander.{table} t")
            for table in ("jobs", "ready", "history")
        ]
        + [await book.execute("SELECT CAST(jsonb_agg(t) AS text) FROM errander.idempotency_keys t")]
        + [
            await book.execute(
                "SELECT CAST(jsonb_agg(to_jsonb(k) - 'last_used_at' ORDER BY k.id) AS text) "
                "FROM errander.api_keys k WHERE k.tenant = 'acme'"
            )
        ]
    )


async def test_every_operation_with_foreign_ids_finds_nothing_and_changes_nothing(
    api: httpx.AsyncClient, settings: ApiSettings, theirs: dict[str, Any], make_key: MakeKey, book: JobBook
) -> None:
    """The answer is that of an id which never was, to the letter."""
    stranger = bearer(await make_key("admin", tenant="rival"))
    crossed = 0
    for name, (method, path) in operations(settings).items():
        parameter = next((one for one in ("job_id", "key_id") if f"{{{one}}}" in path), None)
        if parameter is None:
            assert name in SHARED | OPEN | OWN | LISTS | BULK, f"{name}: whose is it? say so in this test"
            continue
        body = None if method == "GET" else BODIES.get(name, {})
        nobodys = NOBODYS if parameter == "job_id" else "AAAAAAAA"
        missing = await api.request(method, path.format(**{parameter: nobodys}), json=body, headers=stranger)
        for foreign in theirs[parameter]:
            answer = await api.request(method, path.format(**{parameter: foreign}), json=body, headers=stranger)
            found = problem(answer, "not-found", 404)
            expected = problem(missing, "not-found", 404)
            assert found["detail"] == expected["detail"].replace(nobodys, foreign), name
            crossed += 1
    assert crossed >= 2 * 6
    assert await everything(book) == theirs["state"]


async def test_lists_and_bulk_actions_see_ones_own_jobs_only(
    api: httpx.AsyncClient, theirs: dict[str, Any], make_key: MakeKey, book: JobBook
) -> None:
    stranger = bearer(await make_key("admin", tenant="rival"))
    ids = "&".join(f"id={one}" for one in theirs["job_id"])
    for query in ("", "?status=FAILED", "?tag=acme", f"?{ids}", "?payload.secret=of acme", "?idempotency_key=order-42"):
        assert (await api.get(f"/v1/jobs{query}", headers=stranger)).json()["items"] == []
        assert (await api.get(f"/v1/dead-letter{query}", headers=stranger)).json()["items"] == []
    for path in ("/v1/jobs/cancel", "/v1/jobs/replay", "/v1/dead-letter/replay"):
        for wanted in ({}, {"id": theirs["job_id"]}, {"task": "demo.echo"}):
            answer = await api.post(path, json={"filter": wanted}, headers=stranger)
            assert answer.json() == {"matched": 0, "changed": 0, "more": False}
    assert [item["tenant"] for item in (await api.get("/v1/keys", headers=stranger)).json()["items"]] == ["rival"]
    assert await everything(book) == theirs["state"]
    assert len((await api.get("/v1/jobs", headers=theirs["headers"])).json()["items"]) == 2


async def test_a_cursor_of_another_tenant_leads_into_ones_own_list(
    api: httpx.AsyncClient, theirs: dict[str, Any], make_key: MakeKey
) -> None:
    stranger = bearer(await make_key("admin", tenant="rival"))
    cursor = (await api.get("/v1/jobs?limit=1", headers=theirs["headers"])).json()["next_cursor"]
    assert cursor is not None
    assert (await api.get(f"/v1/jobs?limit=1&cursor={cursor}", headers=stranger)).json()["items"] == []


async def test_the_same_idempotency_key_is_another_key_for_another_tenant(
    api: httpx.AsyncClient, theirs: dict[str, Any], make_key: MakeKey
) -> None:
    stranger = bearer(await make_key("admin", tenant="rival"))
    body = {"task": "demo.echo", "payload": {"other": "content"}}
    answer = await api.post("/v1/jobs", json=body, headers=stranger | {"Idempotency-Key": "order-42"})
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers
    assert answer.json()["id"] not in theirs["job_id"]
    batch = {"jobs": [body | {"idempotency_key": "order-42"}]}
    again = await api.post("/v1/jobs/batch", json=batch, headers=stranger)
    assert again.json()["jobs"][0] | {"status": ""} == {"id": answer.json()["id"], "status": "", "replayed": True}
    theirs_again = await api.post("/v1/jobs", json=body, headers=theirs["headers"] | {"Idempotency-Key": "order-42"})
    assert problem(theirs_again, "idempotency-key-reused", 422)["job_id"] == theirs["job_id"][0]


async def test_nothing_in_a_request_chooses_the_tenant(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    key = bearer(await make_key("admin", tenant="rival"))
    for headers in ({"X-Tenant": "acme"}, {"X-Errander-Tenant": "acme"}, {"Tenant": "acme"}):
        assert (await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=key | headers)).status_code == 202
    problem(await api.post("/v1/jobs?tenant=acme", json={"task": "demo.echo"}, headers=key), "validation-failed", 422)
    refused = await api.post("/v1/jobs", json={"task": "demo.echo", "tenant": "acme"}, headers=key)
    problem(refused, "validation-failed", 422)
    assert await book.execute("SELECT array_agg(DISTINCT tenant) FROM errander.jobs") == ["rival"]


async def test_without_authentication_everything_is_of_one_tenant(
    database_url: str, redis_url: str, database: Database, make_key: MakeKey, book: JobBook
) -> None:
    """Turning authentication off shows nobody the jobs of tenants, though a credential comes with the request."""
    del database
    app: FastAPI = create_app(settings_for(database_url, redis_url))
    async with running(app) as api:
        key = await make_key("admin", tenant="acme")
        await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(key))
        assert await book.execute("SELECT array_agg(DISTINCT tenant) FROM errander.jobs") == ["default"]
