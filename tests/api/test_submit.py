"""`POST /v1/jobs`: what is accepted, what is refused, and what the answer says."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from db.errors import Unavailable
from service.api.documents import JobDocument
from service.main import create_app
from service.version import server_version
from tests.api.conftest import running, settings_for
from tests.api.problems import pointers, problem
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually


async def submit(api: httpx.AsyncClient, task: str = "demo.echo", **fields: Any) -> httpx.Response:
    return await api.post("/v1/jobs", json={"task": task, **fields})


async def test_a_submitted_job_is_kept_and_can_be_read(api: httpx.AsyncClient) -> None:
    answer = await submit(api, payload={"n": 1}, tags=["a"], metadata={"order": 7})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["attempt"], job["payload"]) == ("PENDING", 0, {"n": 1})
    read = await api.get(answer.headers["location"])
    assert read.json() == job
    assert set(job) == set(JobDocument.model_fields)
    JobDocument.model_validate(job)


async def test_what_nobody_says_gets_the_defaults(api: httpx.AsyncClient) -> None:
    job = (await submit(api)).json()
    assert job["backoff"] == {"kind": "exponential", "base": 2.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}
    wanted = {"pool": "default", "priority": "default", "max_attempts": 5, "max_crashes": 3, "timeout": 300.0}
    assert wanted.items() <= job.items()
    assert job["attempts_left"] == 5


async def test_the_request_beats_the_task_and_the_task_beats_the_defaults(api: httpx.AsyncClient) -> None:
    declared = (await submit(api, "demo.sleep", payload={"seconds": 1})).json()
    assert (declared["priority"], declared["max_attempts"], declared["timeout"]) == ("low", 2, 12.5)
    assert declared["backoff"]["kind"] == "fixed"
    asked = (await submit(api, "demo.sleep", payload={"seconds": 1}, priority="high", max_attempts=9)).json()
    assert (asked["priority"], asked["max_attempts"], asked["timeout"]) == ("high", 9, 12.5)


async def test_a_backoff_is_completed_and_its_jitter_may_be_a_boolean(api: httpx.AsyncClient) -> None:
    job = (await submit(api, backoff={"kind": "linear", "base": 3, "jitter": True})).json()
    assert job["backoff"] == {"kind": "linear", "base": 3.0, "max": 600.0, "jitter": 1.0}


@pytest.mark.parametrize(("kind", "used"), [("exponential", {"factor": 3.0}), ("linear", {}), ("fixed", {})])
async def test_the_kind_of_a_jobs_own_backoff_can_be_changed_alone(
    api: httpx.AsyncClient, kind: str, used: dict[str, float]
) -> None:
    job = (await submit(api, backoff={"base": 7, "factor": 3}, delay=60)).json()
    found = (await api.patch(f"/v1/jobs/{job['id']}", json={"backoff": job["backoff"] | {"kind": kind}})).json()
    assert found["backoff"] == {"kind": kind, "base": 7.0, "max": 600.0, "jitter": 0.5} | used


async def test_an_unknown_field_of_a_backoff_is_named_with_the_servers_version(api: httpx.AsyncClient) -> None:
    (found,) = problem(await submit(api, backoff={"foo/bar": 1}), "validation-failed", 422)["errors"]
    assert (found["pointer"], found["code"]) == ("/backoff/foo~1bar", "unknown-field")
    assert found["detail"] == f"version {server_version()} of this server knows no such field"


async def test_delay_counts_on_the_database_clock(api: httpx.AsyncClient) -> None:
    job = (await submit(api, delay=3600)).json()
    waits = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
    assert waits == timedelta(hours=1)


async def test_a_run_at_in_the_past_means_now(api: httpx.AsyncClient) -> None:
    job = (await submit(api, run_at="2001-01-01T00:00:00+02:00")).json()
    assert job["run_at"] == job["created_at"]


async def test_times_are_answered_in_utc(api: httpx.AsyncClient) -> None:
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    elsewhere = tomorrow.astimezone(tz=datetime.fromisoformat("2000-01-01T00:00:00+05:30").tzinfo)
    job = (await submit(api, run_at=elsewhere.isoformat())).json()
    assert job["run_at"] == tomorrow.isoformat(timespec="microseconds").replace("+00:00", "Z")


async def test_a_big_integer_survives(api: httpx.AsyncClient) -> None:
    big = 10**300 + 7
    job = (await submit(api, payload={"n": big, "x": 0.1})).json()
    assert (await api.get(f"/v1/jobs/{job['id']}")).json()["payload"] == {"n": big, "x": 0.1}


async def test_an_accepted_job_stands_in_the_queue(api: httpx.AsyncClient, book: JobBook) -> None:
    job = (await submit(api, pool="gpu", priority="high")).json()
    found = await book.execute("SELECT pool || priority || task FROM errander.ready WHERE id = $1::uuid", job["id"])
    assert found == "gpuhighdemo.echo"


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"colour": 1}, "/colour", "unknown-field"),
        ({"task": "no spaces"}, "/task", "format"),
        ({"payload": []}, "/payload", "dict-type"),
        ({"priority": "urgent"}, "/priority", "choice"),
        ({"pool": "Default"}, "/pool", "format"),
        ({"timeout": 0}, "/timeout", "greater-than"),
        ({"timeout": "5"}, "/timeout", "float-type"),
        ({"timeout": True}, "/timeout", "float-type"),
        ({"timeout": 8 * 86_400}, "/timeout", "less-than-equal"),
        ({"max_attempts": 0}, "/max_attempts", "greater-than-equal"),
        ({"max_attempts": 1.5}, "/max_attempts", "int-type"),
        ({"delay": -1}, "/delay", "greater-than-equal"),
        ({"run_at": "2030-01-01T00:00:00"}, "/run_at", "time"),
        ({"run_at": "tomorrow"}, "/run_at", "time"),
        ({"run_at": 5}, "/run_at", "time"),
        ({"run_at": "2030-01-01T00:00:00Z", "delay": 1}, "/delay", "contradiction"),
        ({"expires_at": "2030-01-01T00:00:00Z", "expires_in": 1}, "/expires_in", "contradiction"),
        ({"delay": 10, "expires_in": 5}, "/expires_in", "contradiction"),
        ({"backoff": {"base": -1}}, "/backoff/base", "backoff"),
        ({"backoff": {"kind": "random"}}, "/backoff/kind", "backoff"),
        ({"backoff": {"kind": "fixed", "factor": 0}}, "/backoff/factor", "backoff"),
        ({"backoff": {"": 1}}, "/backoff/", "unknown-field"),
        ({"backoff": 5}, "/backoff", "backoff"),
        ({"tags": [""]}, "/tags/0", "string-too-short"),
        ({"tags": ["x"] * 51}, "/tags", "too-long"),
        ({"metadata": {"k": "x" * 17_000}}, "/metadata", "too-large"),
        ({"payload": {"a": {"b/c": ["\x00"]}}}, "/payload/a/b~1c/0", "text-not-storable"),
        ({"payload": {"a": "\ud800"}}, "/payload/a", "text-not-storable"),
        ({"depends_on": ["x"]}, "/depends_on", "not-supported"),
        ({"unique_key": "k"}, "/unique_key", "not-supported"),
        ({"unique_for": 5}, "/unique_for", "not-supported"),
        ({"on_conflict": "reject"}, "/on_conflict", "not-supported"),
        ({"webhook": {"url": "https://example.org"}}, "/webhook", "not-supported"),
        ({"idempotency_key": "k"}, "/idempotency_key", "unknown-field"),
    ],
)
async def test_a_bad_field_is_pointed_at(
    api: httpx.AsyncClient, fields: dict[str, Any], pointer: str, code: str
) -> None:
    # json.dumps escapes, so that even texts without a UTF-8 form are sent
    body = json.dumps({"task": "demo.echo", **fields})
    answer = await api.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert pointers(answer) == {pointer: code}


async def test_everything_wrong_is_said_at_once(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json={"payload": 1, "priority": "x", "webhook": {"url": "u"}})
    assert set(pointers(answer)) == {"/task", "/payload", "/priority", "/webhook"}


async def test_a_payload_is_checked_against_the_announced_schema(api: httpx.AsyncClient) -> None:
    assert pointers(await submit(api, "demo.sleep", payload={"seconds": "soon"})) == {"/payload/seconds": "type"}
    assert pointers(await submit(api, "demo.sleep")) == {"/payload/seconds": "required"}
    extra = await submit(api, "demo.sleep", payload={"seconds": 1, "x~y": 1})
    assert pointers(extra) == {"/payload/x~0y": "unknown-field"}


async def test_an_unknown_task_names_what_looks_like_it(api: httpx.AsyncClient) -> None:
    found = problem(await submit(api, "demo.ecko"), "unknown-task", 422)
    assert "demo.echo" in found["similar"]
    assert "announced at 2" in found["detail"]


async def test_a_task_announced_a_moment_ago_is_known_at_once(api: httpx.AsyncClient, book: JobBook) -> None:
    problem(await submit(api, "late"), "unknown-task", 422)
    await book.execute(
        "INSERT INTO errander.tasks (name, schema_hash, payload_schema, defaults) VALUES ('late', 'h', '{}', '{}')"
        " RETURNING name"
    )
    assert (await submit(api, "late")).status_code == 202


async def test_a_payload_that_fits_any_live_schema_is_accepted(api: httpx.AsyncClient, book: JobBook) -> None:
    await book.execute(
        "INSERT INTO errander.tasks (name, schema_hash, payload_schema, defaults, announced_at) VALUES"
        """ ('two', 'old', '{"required": ["a"]}', '{}', now() - interval '1 day'),"""
        """ ('two', 'new', '{"required": ["b"]}', '{}', now()) RETURNING name"""
    )
    # nobody is live: the newest decides
    assert pointers(await submit(api, "two", payload={"a": 1})) == {"/payload/b": "required"}
    await book.execute(
        "INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots) VALUES"
        """ (gen_random_uuid(), 'default', '{high}', '{"two": "old"}', 'h', 1, '1', 1) RETURNING id"""
    )

    async def accepted() -> bool:  # the catalogue in memory may be a second old
        return (await submit(api, "two", payload={"a": 1})).status_code == 202

    await eventually(accepted)
    assert pointers(await submit(api, "two", payload={"b": 1})) == {"/payload/a": "required"}


async def test_wait_answers_202_when_the_job_is_not_final_in_time(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/jobs?wait=0.05", json={"task": "demo.echo"})
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")


async def test_wait_answers_200_when_the_job_is_final_in_time(api: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(api.post("/v1/jobs?wait=20", json={"task": "demo.echo"}))

    async def cancelled() -> None:
        while True:
            items = (await api.get("/v1/jobs")).json()["items"]
            if items:
                assert (await api.post(f"/v1/jobs/{items[0]['id']}/cancel")).status_code == 200
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(cancelled(), 10)
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")


async def test_a_job_that_is_kept_is_accepted_though_postgres_fails_while_it_is_waited_for(
    api: httpx.AsyncClient, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("db.jobs.get", away)
        answer = await api.post("/v1/jobs?wait=5", json={"task": "demo.echo"})
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
    assert answer.json()["id"] == str(await book.execute("SELECT id FROM errander.jobs"))


@pytest.mark.parametrize("wait", ["31", "-1", "x", "nan", "1e1", ""])
async def test_a_wait_out_of_range_is_refused(api: httpx.AsyncClient, wait: str) -> None:
    answer = await api.post("/v1/jobs", params={"wait": wait}, json={"task": "demo.echo"})
    assert pointers(answer) == {"wait": "range"}


async def test_submitting_does_not_need_redis(database_url: str, api: httpx.AsyncClient) -> None:
    away = create_app(settings_for(database_url, "redis://127.0.0.1:1/0"))
    async with running(away) as client:
        assert (await submit(client)).status_code == 202
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        job = (await submit(client)).json()
        waiting = asyncio.create_task(client.get(f"/v1/jobs/{job['id']}?wait=20"))
        await client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (await asyncio.wait_for(waiting, 5)).json()["status"] == "CANCELLED"
