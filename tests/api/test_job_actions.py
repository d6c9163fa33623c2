"""Reading, changing, cancelling, replaying one job."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.problems import pointers, problem
from tests.fixtures.jobs import JobBook


async def submit(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/v1/jobs", json={"task": "demo.echo", **fields})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def run(book: JobBook, job_id: str) -> str:
    """Makes a job RUNNING, as a claim does; the worker's id."""
    worker = str(uuid4())
    await book.execute(
        "WITH q AS (DELETE FROM errander.ready WHERE id = $1::uuid), l AS (INSERT INTO errander.running"
        " (id, attempt, worker_id, pool, priority) VALUES ($1::uuid, 1, $2::uuid, 'default', 'default'))"
        " UPDATE errander.jobs SET status = 'RUNNING', attempt = 1, worker_id = $2::uuid, started_at = now()"
        " WHERE id = $1::uuid RETURNING id",
        job_id,
        worker,
    )
    return worker


async def end(book: JobBook, job_id: str, status: str) -> None:
    """Ends a running job."""
    await book.execute(
        "WITH l AS (DELETE FROM errander.running WHERE id = $1::uuid) UPDATE errander.jobs SET status = $2,"
        " finished_at = now(), failed_at = CASE WHEN $2 = 'FAILED' THEN now() END, failures = 5, crashes = 1,"
        """ errors = '[{"attempt": 1, "at": "2026-01-02T03:04:05+00:00", "worker": null, "kind": "error",
         "type": "E", "message": "m", "traceback": null}]', result = '1', progress = '{"done": 1}'"""
        " WHERE id = $1::uuid RETURNING id",
        job_id,
        status,
    )


@pytest.mark.parametrize(
    "job_id", ["nope", "0199", "01a20134-0000-7000-8000-000000000000", "00000000-0000-0000-0000-00000000000g"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("GET", "/history"),
        ("POST", "/cancel"),
        ("POST", "/replay"),
        ("POST", "/run-now"),
    ],
)
async def test_a_job_that_does_not_exist_is_not_found(
    api: httpx.AsyncClient, method: str, path: str, job_id: str
) -> None:
    body = {"priority": "high"} if method == "PATCH" else None
    problem(await api.request(method, f"/v1/jobs/{job_id}{path}", json=body), "not-found", 404)


async def test_an_unchanged_job_answers_304(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}"
    first = await api.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    same = await api.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    await api.patch(path, json={"priority": "high"})
    changed = await api.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["priority"]) == (200, "high")


async def test_a_read_that_waits_answers_when_the_job_ends(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job['id']}?wait=20"))
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")


async def test_a_read_that_waited_in_vain_answers_with_the_job_as_it_is(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    answer = await api.get(f"/v1/jobs/{job['id']}?wait=0.05")
    assert (answer.status_code, answer.json()) == (200, job)
    assert pointers(await api.get(f"/v1/jobs/{job['id']}?wait=30.5")) == {"wait": "range"}


async def test_a_job_that_does_not_exist_is_not_waited_for(api: httpx.AsyncClient) -> None:
    problem(await asyncio.wait_for(api.get(f"/v1/jobs/{uuid4()}?wait=30"), 5), "not-found", 404)


async def test_a_waiting_job_is_cancelled_at_once(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}/cancel"
    found = (await api.post(path, json={"reason": "ordered twice"})).json()
    assert (found["status"], found["cancelled_by"], found["cancel_reason"]) == ("CANCELLED", "client", "ordered twice")
    assert found["finished_at"] is not None
    assert await book.execute("SELECT count(*) FROM errander.ready") == 0
    again = await api.post(path, json={"reason": "other"})
    assert (again.status_code, again.json()) == (200, found)


@pytest.mark.parametrize("body", [b"", b"{}", None])
async def test_the_body_of_an_action_may_be_absent(api: httpx.AsyncClient, body: bytes | None) -> None:
    job = await submit(api)
    headers = {"content-type": "application/json"} if body else {}
    answer = await api.post(f"/v1/jobs/{job['id']}/cancel", content=body, headers=headers)
    assert answer.status_code == 200


async def test_a_running_job_is_asked_to_stop(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    await run(book, job["id"])
    path = f"/v1/jobs/{job['id']}"
    found = (await api.post(f"{path}/cancel", json={"reason": "too slow"})).json()
    assert found["status"] == "RUNNING"
    assert found["cancel_requested_at"] is not None
    assert (await api.post(f"{path}/cancel")).json() == found
    history = (await api.get(f"{path}/history")).json()["items"]
    assert [event["event"] for event in history] == ["submitted", "started", "cancel-requested"]
    assert (history[2]["by"], history[2]["detail"]) == ("client", {"reason": "too slow"})


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED"])
async def test_a_job_that_ended_cannot_be_cancelled(api: httpx.AsyncClient, book: JobBook, status: str) -> None:
    job = await submit(api)
    await run(book, job["id"])
    await end(book, job["id"], status)
    found = problem(await api.post(f"/v1/jobs/{job['id']}/cancel"), "job-already-final", 409)
    assert (found["job_status"], found["job_id"]) == (status, job["id"])


async def test_a_failed_job_is_replayed_with_fresh_budgets(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api, expires_in=60)
    worker = await run(book, job["id"])
    await end(book, job["id"], "FAILED")
    found = (await api.post(f"/v1/jobs/{job['id']}/replay", json={"delay": 60, "max_attempts": 2})).json()
    assert (found["status"], found["failures"], found["crashes"], found["replays"]) == ("PENDING", 0, 0, 1)
    assert (found["attempt"], found["max_attempts"], found["attempts_left"]) == (1, 2, 2)
    gone = ("result", "progress", "finished_at", "expires_at", "cancel_requested_at", "cancelled_by", "cancel_reason")
    assert [found[name] for name in gone] == [None] * len(gone)
    assert found["error"] == found["errors"][0]
    assert found["error"]["at"] == "2026-01-02T03:04:05.000000Z"
    assert await book.execute("SELECT count(*) FROM errander.ready WHERE run_at > now() + interval '50 s'") == 1
    items = (await api.get(f"/v1/jobs/{job['id']}/history")).json()["items"]
    assert [(event["event"], event["status"]) for event in items] == [
        ("submitted", "PENDING"),
        ("started", "RUNNING"),
        ("finished", "FAILED"),
        ("replayed", "PENDING"),
    ]
    assert items[1]["worker"] == worker
    assert items[3]["detail"]["before"] == {"max_attempts": 5}


async def test_a_cancelled_job_can_be_replayed(api: httpx.AsyncClient) -> None:
    job = await submit(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await api.post(f"/v1/jobs/{job['id']}/replay")).json()["status"] == "PENDING"


async def test_only_what_failed_or_was_cancelled_is_replayed(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}/replay"
    assert problem(await api.post(path), "not-replayable", 409)["job_status"] == "PENDING"
    await run(book, job["id"])
    assert problem(await api.post(path), "not-replayable", 409)["job_status"] == "RUNNING"
    await end(book, job["id"], "SUCCESS")
    assert problem(await api.post(path), "not-replayable", 409)["job_status"] == "SUCCESS"


async def test_the_payload_of_a_replay_is_checked(api: httpx.AsyncClient) -> None:
    job = (await api.post("/v1/jobs", json={"task": "demo.sleep", "payload": {"seconds": 1}})).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    answer = await api.post(f"/v1/jobs/{job['id']}/replay", json={"payload": {"seconds": -1}})
    assert pointers(answer) == {"/payload/seconds": "minimum"}


async def test_run_now_makes_a_job_due(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api, delay=3600)
    found = (await api.post(f"/v1/jobs/{job['id']}/run-now")).json()
    assert found["run_at"] < job["run_at"]
    assert await book.execute("SELECT count(*) FROM errander.ready WHERE run_at <= now()") == 1
    again = (await api.post(f"/v1/jobs/{job['id']}/run-now")).json()
    assert again["run_at"] == found["run_at"]
    await run(book, job["id"])
    assert problem(await api.post(f"/v1/jobs/{job['id']}/run-now"), "job-not-waiting", 409)["job_status"] == "RUNNING"


async def test_a_waiting_job_is_changed_and_its_former_values_are_kept(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await submit(api, payload={"n": None}, expires_in=60, metadata={"a": 1})
    edit = {
        "priority": "high",
        "pool": "gpu",
        "run_at": "2039-01-01T00:00:00Z",
        "payload": {"n": 2},
        "max_attempts": 7,
        "timeout": 5,
        "backoff": {"kind": "fixed", "base": 1},
        "expires_at": None,
        "tags": ["x"],
        "metadata": {"b": 2},
    }
    found = (await api.patch(f"/v1/jobs/{job['id']}", json=edit)).json()
    assert {name: found[name] for name in ("priority", "pool", "payload", "max_attempts", "timeout", "tags")} == {
        name: edit[name] for name in ("priority", "pool", "payload", "max_attempts", "timeout", "tags")
    }
    assert (found["run_at"], found["expires_at"]) == ("2039-01-01T00:00:00.000000Z", None)
    queued = await book.execute("SELECT pool || priority || coalesce(expires_at::text, '-') FROM errander.ready")
    assert queued == "gpuhigh-"
    event = (await api.get(f"/v1/jobs/{job['id']}/history")).json()["items"][-1]
    assert (event["event"], event["by"]) == ("edited", "client")
    assert set(event["detail"]["before"]) == set(edit)
    assert event["detail"]["before"]["payload"] == {"n": None}


async def test_a_change_says_what_is_wrong_with_it(api: httpx.AsyncClient, book: JobBook) -> None:
    job = (await api.post("/v1/jobs", json={"task": "demo.sleep", "payload": {"seconds": 1}})).json()
    path = f"/v1/jobs/{job['id']}"
    assert pointers(await api.patch(path, json={"task": "demo.echo"})) == {"/task": "unknown-field"}
    assert pointers(await api.patch(path, json={"payload": {}})) == {"/payload/seconds": "required"}
    await book.execute("UPDATE errander.jobs SET failures = 1, status = 'RETRYING' RETURNING id")
    assert pointers(await api.patch(path, json={"max_attempts": 1})) == {"/max_attempts": "range"}
    await run(book, job["id"])
    assert problem(await api.patch(path, json={"tags": []}), "job-not-waiting", 409)["job_status"] == "RUNNING"


async def test_cancel_and_replay_of_one_job_by_many_at_once_leave_it_whole(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}"
    actions = ["/cancel", "/replay", "/run-now"] * 15
    answers = await asyncio.gather(*(api.post(path + action) for action in actions))
    assert {answer.status_code for answer in answers} <= {200, 409}
    status = (await api.get(path)).json()["status"]
    assert await book.execute("SELECT count(*) FROM errander.ready") == (1 if status == "PENDING" else 0)


@pytest.mark.parametrize(
    "name", ["priority", "pool", "run_at", "payload", "max_attempts", "timeout", "backoff", "tags", "metadata"]
)
async def test_null_is_no_value_to_change_to_and_nothing_of_the_change_is_done(
    api: httpx.AsyncClient, name: str
) -> None:
    job = await submit(api, delay=60, expires_in=600)
    path = f"/v1/jobs/{job['id']}"
    assert pointers(await api.patch(path, json={name: None, "expires_at": None})) == {f"/{name}": "null"}
    assert (await api.get(path)).json() == job
    described = (await api.get("/openapi.json")).json()["components"]["schemas"]["EditBody"]["properties"]
    assert {"type": "null"} not in described[name].get("anyOf", [])
    assert {"type": "null"} in described["expires_at"]["anyOf"]
