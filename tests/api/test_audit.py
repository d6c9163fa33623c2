"""Who did what: told with what was done or not at all, once, and in the words of the API."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from db.engine import Database
from service.api.documents import AuditPage
from service.chaos.proxy import Proxy
from service.http.cursors import cursor_text, list_hash
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running, settings_for
from tests.api.problems import pointers, problem
from tests.api.test_job_actions import end, run, submit
from tests.api.test_queues import worker
from tests.fixtures.jobs import JobBook


async def log(api: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The newest entries."""
    answer = await api.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    AuditPage.model_validate(answer.json())
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def told(api: httpx.AsyncClient, **query: Any) -> list[tuple[str, Any, Any]]:
    """What was done, oldest first: action, before, after."""
    return [(one["action"], one["before"], one["after"]) for one in reversed(await log(api, **query))]


# -- one job -----------------------------------------------------------------------------------------------------------


async def test_an_entry_says_who_did_what_from_where_and_why(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}/cancel"
    answer = await api.post(path, json={"reason": "ordered twice"}, headers={"X-Request-Id": "r-1"})
    assert answer.json()["status"] == "CANCELLED"
    (entry,) = await log(api)
    assert entry.pop("id") > 0
    assert entry.pop("at") == answer.json()["finished_at"]
    assert entry == {
        "actor": "anyone",
        "action": "job.cancel",
        "object": {"kind": "job", "id": job["id"]},
        "before": {"status": "PENDING"},
        "after": {"status": "CANCELLED"},
        "reason": "ordered twice",
        "request_id": "r-1",
        "address": "127.0.0.1",
    }


async def test_a_submit_and_a_read_are_not_told(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    await api.get(f"/v1/jobs/{job['id']}")
    await api.get(f"/v1/jobs/{job['id']}/history")
    assert await log(api) == []


async def test_what_changes_nothing_is_not_told(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api, priority="high")
    path = f"/v1/jobs/{job['id']}"
    for method, action, body in (
        ("PATCH", "", {}),
        ("PATCH", "", {"priority": "high"}),
        ("POST", "/run-now", {}),
        ("POST", "/replay", {}),
        ("POST", "/v1/jobs/0199a7c1-0000-7000-8000-000000000000/cancel", {}),
    ):
        await api.request(method, action if action.startswith("/v1") else path + action, json=body)
    assert await log(api) == []
    for _ in range(3):
        await api.post(f"{path}/cancel")
    assert await told(api) == [("job.cancel", {"status": "PENDING"}, {"status": "CANCELLED"})]
    ended = await submit(api)
    await run(book, ended["id"])
    await end(book, ended["id"], "SUCCESS")
    assert (await api.post(f"/v1/jobs/{ended['id']}/cancel")).status_code == 409
    assert len(await log(api)) == 1


async def test_a_running_job_is_asked_once(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    await run(book, job["id"])
    for _ in range(2):
        found = (await api.post(f"/v1/jobs/{job['id']}/cancel")).json()
    asked = {"cancel_requested_at": found["cancel_requested_at"]}
    assert await told(api) == [("job.cancel", {"cancel_requested_at": None}, asked)]


async def test_an_edit_tells_only_what_it_changed_and_never_a_payload(api: httpx.AsyncClient) -> None:
    job = await submit(api, payload={"card": "4111-secret"}, tags=["a"], metadata={"n": 1})
    edit = {"payload": {"card": "4222-secret"}, "priority": "high", "tags": ["a"], "metadata": {"text": "x" * 5_000}}
    assert (await api.patch(f"/v1/jobs/{job['id']}", json=edit)).status_code == 200
    (entry,) = await log(api)
    assert (entry["action"], set(entry["before"])) == ("job.edit", {"payload", "priority", "metadata"})
    assert (entry["before"]["priority"], entry["after"]["priority"]) == ("default", "high")
    assert entry["before"]["metadata"] == {"n": 1}
    assert set(entry["after"]["metadata"]) == {"sha256"}
    assert "secret" not in json.dumps(entry)
    assert entry["after"]["payload"] == {"sha256": hashlib.sha256(b'{"card":"4222-secret"}').hexdigest()}


async def test_run_now_and_replay_tell_what_became_of_the_job(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api, delay=3600)
    moved = (await api.post(f"/v1/jobs/{job['id']}/run-now")).json()
    await run(book, job["id"])
    await end(book, job["id"], "FAILED")
    body = {"max_attempts": 9, "reason": "mended", "payload": {"n": 2}}
    again = (await api.post(f"/v1/jobs/{job['id']}/replay", json=body)).json()
    first, second = await told(api)
    assert first == ("job.run-now", {"run_at": job["run_at"]}, {"run_at": moved["run_at"]})
    action, before, after = second
    assert (action, before.pop("run_at"), after.pop("run_at")) == ("job.replay", moved["run_at"], again["run_at"])
    assert before.pop("payload") != after.pop("payload")
    assert before == {"status": "FAILED", "max_attempts": 5, "failures": 5, "crashes": 1, "replays": 0}
    assert after == {"status": "PENDING", "max_attempts": 9, "failures": 0, "crashes": 0, "replays": 1}
    assert (await log(api))[0]["reason"] == "mended"


async def test_of_many_who_cancel_at_once_one_is_told(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}/cancel"
    answers = await asyncio.gather(*(api.post(path, json={"reason": str(n)}) for n in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    (entry,) = await log(api)
    assert entry["reason"] == answers[0].json()["cancel_reason"]


async def test_racing_edits_are_told_in_a_row_without_a_gap(api: httpx.AsyncClient) -> None:
    """Each entry begins where the one before ended: `before` is of the row that the edit had locked."""
    job = await submit(api, max_attempts=1)
    path = f"/v1/jobs/{job['id']}"
    answers = await asyncio.gather(*(api.patch(path, json={"max_attempts": n}) for n in range(2, 32)))
    done = [answer for answer in answers if answer.status_code == 200]
    assert len(done) > 20
    chain = {before["max_attempts"]: after["max_attempts"] for _, before, after in await told(api)}
    assert len(chain) == len(done)
    at = 1
    for _ in done:
        at = chain[at]
    assert at == (await api.get(path)).json()["max_attempts"]


# -- together or not at all --------------------------------------------------------------------------------------------


async def test_what_cannot_be_told_is_not_done(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    await book.execute("ALTER TABLE errander.audit ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    worker_id = await worker(book, "demo.echo")
    paths = ("jobs/cancel", f"jobs/{job['id']}/cancel", "queues/high/pause", "tasks/demo.echo/pause")
    for path in (*paths, f"workers/{worker_id}/drain"):
        body: dict[str, Any] = {"filter": {}} if path == "jobs/cancel" else {}
        assert (await api.post(f"/v1/{path}", json=body)).status_code == 422, path
    assert (await api.patch(f"/v1/jobs/{job['id']}", json={"priority": "low"})).status_code == 422
    assert (await api.get(f"/v1/jobs/{job['id']}")).json() == job
    assert not any(queue["paused"] for queue in (await api.get("/v1/queues")).json()["items"])
    assert not (await api.get("/v1/tasks/demo.echo")).json()["paused"]
    assert not (await api.get("/v1/workers")).json()["items"][0]["draining"]


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """Between an application and PostgreSQL."""
    async with Proxy.of(database_url) as opened:
        yield opened


@pytest.mark.parametrize(
    ("words", "is_done"),
    [
        (b"request-7", False),  # only the entry carries it: the change is made, the entry is written, nothing committed
        (b"COMMIT", True),
    ],
)
async def test_a_connection_that_dies_leaves_both_or_neither(
    database: Database, proxy: Proxy, settings: ApiSettings, book: JobBook, *, words: bytes, is_done: bool
) -> None:
    del database
    through = settings_for(
        proxy.through(settings.database_url.get_secret_value()), settings.redis_url.get_secret_value()
    )
    async with running(create_app(through)) as api:
        job = await submit(api)
        for change in ("cancel", "queue"):
            url = f"/v1/jobs/{job['id']}/cancel" if change == "cancel" else "/v1/queues/high/pause"
            proxy.cut_after(words)
            lost = await api.post(url, headers={"X-Request-Id": "request-7"})
            problem(lost, "unavailable", 503)
    assert proxy.cuts == 2
    cancelled = await book.execute("SELECT status = 'CANCELLED' FROM errander.jobs")
    paused = await book.execute("SELECT count(*) = 1 FROM errander.queue_pauses")
    assert (cancelled, paused) == (is_done, is_done)
    assert await book.execute("SELECT count(*) FROM errander.audit") == (2 if is_done else 0)


# -- many jobs ---------------------------------------------------------------------------------------------------------


async def test_a_bulk_change_is_one_entry_a_chunk_with_its_filter_and_its_jobs(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    jobs = [{"task": "demo.echo", "tags": ["x"], "payload": {"to": "ada@example.org"}} for _ in range(1_050)]
    await api.post("/v1/jobs/batch", json={"jobs": jobs})
    wanted = {"tag": ["x"], "payload.to": "ada@example.org"}
    dry = {"filter": wanted, "dry_run": True}
    assert (await api.post("/v1/jobs/cancel", json=dry)).json()["matched"] == 1_050
    assert await log(api) == []
    assert (await api.post("/v1/jobs/cancel", json={"filter": wanted, "reason": "sent twice"})).json()[
        "changed"
    ] == 1_050
    entries = await log(api, action="jobs.cancel")
    assert [entry["after"]["changed"] for entry in entries] == [50, 1_000]
    assert {entry["reason"] for entry in entries} == {"sent twice"}
    assert entries[0]["object"] == {"kind": "jobs", "id": None}
    assert entries[0]["after"]["filter"]["tag"] == ["x"]
    assert "ada@example.org" not in json.dumps(entries)
    named = [name for entry in await log(api, include="ids") for name in entry["object"]["ids"]]
    assert len(set(named)) == 1_050
    assert (await api.post("/v1/jobs/replay", json={"filter": {"id": named[0]}})).json()["changed"] == 1
    assert await log(api, action="jobs.cancel", limit=1) == entries[:1]
    about = [entry["action"] for entry in await log(api, object_kind="job", object_id=named[0])]
    assert about == ["jobs.replay", "jobs.cancel"]
    assert await book.execute("SELECT count(*) FROM errander.audit") == 3


async def test_a_bulk_change_that_finds_nothing_to_change_is_not_told(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    for path in ("jobs/cancel", "dead-letter/replay"):
        assert (await api.post(f"/v1/{path}", json={"filter": {}})).json()["changed"] == 0
    assert [entry["action"] for entry in await log(api)] == ["job.cancel"]


async def test_a_replay_of_the_dead_letter_is_told_as_that(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    await run(book, job["id"])
    await end(book, job["id"], "FAILED")
    await api.post("/v1/dead-letter/replay", json={"filter": {}})
    assert await told(api) == [("dead-letter.replay", None, {"filter": {}, "changed": 1})]


# -- what all share ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "kind", "name"), [("queues", "queue", "gpu:high"), ("tasks", "task", "demo.echo")])
async def test_a_pause_is_told_when_it_begins_when_its_reason_changes_and_when_it_ends(
    api: httpx.AsyncClient, path: str, kind: str, name: str
) -> None:
    for body in ({}, {}, {"reason": "deploy"}, {"reason": "deploy"}, {}):
        assert (await api.post(f"/v1/{path}/{name}/pause", json=body)).status_code == 200
    for _ in range(2):
        assert (await api.post(f"/v1/{path}/{name}/resume", json={"reason": "done"})).status_code == 200
    assert await told(api, object_kind=kind, object_id=name) == [
        (f"{kind}.pause", {"paused": False}, {"paused": True, "reason": None}),
        (f"{kind}.pause", {"paused": True, "reason": None}, {"paused": True, "reason": "deploy"}),
        (f"{kind}.resume", {"paused": True, "reason": "deploy"}, {"paused": False}),
    ]
    assert (await log(api))[0]["reason"] == "done"


async def test_of_many_who_pause_and_resume_at_once_each_change_is_told_once(api: httpx.AsyncClient) -> None:
    await asyncio.gather(*(api.post("/v1/queues/high/pause", json={"reason": "r"}) for _ in range(10)))
    await asyncio.gather(*(api.post("/v1/queues/high/resume") for _ in range(10)))
    assert [action for action, _, _ in await told(api)] == ["queue.pause", "queue.resume"]


async def test_a_worker_is_asked_to_drain_once(api: httpx.AsyncClient, book: JobBook) -> None:
    worker_id = await worker(book, "demo.echo")
    for _ in range(3):
        assert (await api.post(f"/v1/workers/{worker_id}/drain", json={"reason": "host leaves"})).status_code == 200
    (entry,) = await log(api)
    assert (entry["action"], entry["object"]["id"], entry["reason"]) == ("worker.drain", worker_id, "host leaves")
    assert (entry["before"], entry["after"]) == ({"draining": False}, {"draining": True})


# -- the list ----------------------------------------------------------------------------------------------------------


async def test_pages_lead_through_the_whole_log(api: httpx.AsyncClient) -> None:
    for _ in range(6):
        await api.post("/v1/queues/low/pause")
        await api.post("/v1/queues/low/resume")
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 5, "action": "queue.*"}
    while True:
        page = (await api.get("/v1/audit", params=query)).json()
        seen += [entry["id"] for entry in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == 12
    assert seen == sorted(seen, reverse=True)
    other = await api.get("/v1/audit", params=query | {"action": "queue.pause"})
    assert pointers(other) == {"cursor": "cursor-mismatch"}
    assert [entry["id"] for entry in await log(api, after=(await log(api))[2]["at"])] == seen[:3]
    assert [entry["id"] for entry in await log(api, before=(await log(api))[9]["at"])] == seen[10:]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=201", "limit", "range"),
        ("limit=0", "limit", "range"),
        ("action=job", "action", "filter"),
        ("action=*", "action", "filter"),
        ("action=job.%25", "action", "filter"),
        ("object_kind=JOB", "object_kind", "filter"),
        ("object_id=", "object_id", "filter"),
        ("object_id=%00", "object_id", "filter"),
        ("actor=" + "x" * 1001, "actor", "filter"),
        ("after=yesterday", "after", "filter"),
        ("before=2026-01-01T00:00:00", "before", "filter"),
        ("tenant=other", "tenant", "unknown-parameter"),
        ("action=job.cancel&action=job.edit", "action", "repeated"),
        ("include=payload", "include", "choice"),
        ("cursor=nonsense", "cursor", "cursor"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused(
    api: httpx.AsyncClient, query: str, pointer: str, code: str
) -> None:
    assert pointers(await api.get(f"/v1/audit?{query}")) == {pointer: code}


@pytest.mark.parametrize("place", [True, 1.5, 10**30, -(10**30), "1", None])
async def test_a_cursor_that_was_made_up_is_none(api: httpx.AsyncClient, place: Any) -> None:
    cursor = cursor_text(list_hash("audit", {}), "2026-01-01T00:00:00Z", place)
    assert pointers(await api.get("/v1/audit", params={"cursor": cursor})) == {"cursor": "cursor"}


async def test_a_search_that_takes_too_long_says_what_to_do(api: httpx.AsyncClient, book: JobBook) -> None:
    await api.post("/v1/queues/low/pause")
    await book.execute(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET statement_timeout = %L',"
        " current_database(), '200ms'); END $$"
    )
    await book.execute("ALTER TABLE errander.audit RENAME TO real_audit")
    await book.execute(
        "CREATE VIEW errander.audit AS SELECT a.* FROM errander.real_audit a, pg_sleep(9) AS slow WHERE slow IS NOT NULL"
    )
    assert pointers(await api.get("/v1/audit?actor=anyone")) == {"": "too-wide"}


async def test_the_log_takes_no_writing(api: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await api.request(method, "/v1/audit")
        problem(answer, "method-not-allowed", 405)
        assert "GET" in answer.headers["allow"]
