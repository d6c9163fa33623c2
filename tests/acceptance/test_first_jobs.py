"""What a newcomer tries over HTTP against `errander dev`."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.fixtures.dev import DevProcess
from tests.fixtures.waiting import eventually

FINAL = {"SUCCESS", "FAILED", "CANCELLED"}


@pytest.fixture
async def http(dev_server: DevProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=dev_server.url, timeout=40) as client:
        yield client


async def submit(http: httpx.AsyncClient, task: str, payload: dict[str, Any] | None = None, **fields: Any) -> Any:
    answer = await http.post("/v1/jobs", json={"task": task, "payload": payload or {}, **fields})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()


async def final(http: httpx.AsyncClient, job_id: str, within: float = 30) -> Any:
    deadline = time.monotonic() + within
    while True:
        answer = await http.get(f"/v1/jobs/{job_id}", params={"wait": 10})
        assert answer.status_code == 200, answer.text
        if answer.json()["status"] in FINAL:
            return answer.json()
        assert time.monotonic() < deadline, answer.json()


def when(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


async def test_an_echo_comes_back(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/jobs?wait=10", json={"task": "demo.echo", "payload": {"hello": ["world", 1, None]}})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["status"], job["result"], job["attempt"]) == ("SUCCESS", {"hello": ["world", 1, None]}, 1)


async def test_a_flaky_job_succeeds_after_two_errors_and_growing_waits(http: httpx.AsyncClient) -> None:
    backoff = {"kind": "exponential", "base": 0.5, "factor": 3, "jitter": False}
    job = await submit(http, "demo.flaky", {"fail_times": 2}, backoff=backoff)
    done = await final(http, job["id"])
    assert (done["status"], done["attempt"], done["failures"], len(done["errors"])) == ("SUCCESS", 3, 2, 2)
    assert [error["attempt"] for error in done["errors"]] == [1, 2]
    history = (await http.get(f"/v1/jobs/{job['id']}/history")).json()
    starts = [when(event["at"]) for event in history["items"] if event["event"] == "started"]
    fails = [when(error["at"]) for error in done["errors"]]
    waits = [(start - fail).total_seconds() for start, fail in zip(starts[1:], fails, strict=True)]
    assert waits[0] >= 0.5
    assert waits[1] >= 1.5


async def test_a_failing_job_ends_in_the_dead_letter_and_is_replayed(http: httpx.AsyncClient) -> None:
    job = await submit(http, "demo.fail", max_attempts=2, backoff={"kind": "fixed", "base": 0.1}, tags=["dead"])
    done = await final(http, job["id"])
    assert (done["status"], done["failures"], done["attempts_left"], len(done["errors"])) == ("FAILED", 2, 0, 2)
    dead = (await http.get("/v1/dead-letter", params={"tag": "dead"})).json()["items"]
    assert [item["id"] for item in dead] == [job["id"]]
    replayed = await http.post(f"/v1/jobs/{job['id']}/replay")
    assert replayed.status_code == 200, replayed.text
    assert (replayed.json()["status"], replayed.json()["failures"], replayed.json()["replays"]) == ("PENDING", 0, 1)
    again = await final(http, job["id"])
    assert (again["status"], len(again["errors"]), again["attempt"]) == ("FAILED", 4, 4)


async def test_a_job_for_later_starts_not_before_and_at_most_half_a_second_after(http: httpx.AsyncClient) -> None:
    jobs = []
    for index in range(3):
        run_at = datetime.now(UTC) + timedelta(seconds=3 + index * 0.2)
        jobs.append(await submit(http, "demo.echo", run_at=run_at.isoformat().replace("+00:00", "Z")))
    for job in jobs:
        done = await final(http, job["id"])
        late = (when(done["started_at"]) - when(job["run_at"])).total_seconds()
        assert 0 <= late <= 0.5


async def test_a_hundred_submits_with_one_key_make_one_job(http: httpx.AsyncClient) -> None:
    body = {"task": "demo.echo", "payload": {"n": 1, "to": "a"}}

    async def one() -> httpx.Response:
        while True:
            answer = await http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "hundred"})
            if answer.status_code != 409:
                return answer
            assert answer.json()["code"] == "idempotency-in-flight"
            assert "Retry-After" in answer.headers

    answers = await asyncio.gather(*(one() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    listed = (await http.get("/v1/jobs", params={"idempotency_key": "hundred"})).json()["items"]
    assert len(listed) == 1
    other = await http.post(
        "/v1/jobs",
        json={"task": "demo.echo", "payload": {"n": 2, "to": "a"}, "priority": "high"},
        headers={"Idempotency-Key": "hundred"},
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert set(other.json()["differs"]) == {"/payload/n", "/priority"}
    assert other.json()["job_id"] == answers[0].json()["id"]


async def test_an_unknown_task_is_refused_with_close_matches(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/jobs", json={"task": "demo.ecko"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-task")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "demo.echo" in answer.json()["similar"]


async def test_a_misfit_payload_is_refused_with_a_pointer(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/jobs", json={"task": "demo.sleep", "payload": {"seconds": "long"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/payload/seconds"]


async def test_a_waiting_job_is_cancelled_at_once(http: httpx.AsyncClient) -> None:
    job = await submit(http, "demo.echo", delay=3600)
    answer = await http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "not needed"})
    assert answer.status_code == 200
    cancelled = answer.json()
    assert (cancelled["status"], cancelled["cancelled_by"], cancelled["cancel_reason"]) == (
        "CANCELLED",
        "client",
        "not needed",
    )
    assert (await http.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200


@pytest.mark.parametrize(("task", "payload"), [("demo.sleep", {"seconds": 60}), ("demo.primes", {"limit": 50_000_000})])
async def test_a_running_job_is_cancelled_within_a_second(
    http: httpx.AsyncClient, task: str, payload: dict[str, Any]
) -> None:
    job = await submit(http, task, payload)

    async def runs() -> bool:
        return (await http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "RUNNING"  # type: ignore[no-any-return]

    await eventually(runs, 20)
    answer = await http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "enough"})
    asked = time.monotonic()
    assert answer.status_code == 200
    assert answer.json()["cancel_requested_at"] is not None
    done = await final(http, job["id"])
    assert (done["status"], done["cancelled_by"], done["cancel_reason"]) == ("CANCELLED", "client", "enough")
    # within a second of the worker's next look, and the long poll's way back
    assert time.monotonic() - asked < 2


async def test_a_timeout_is_retried(http: httpx.AsyncClient) -> None:
    job = await submit(
        http, "demo.sleep", {"seconds": 30}, timeout=0.5, max_attempts=2, backoff={"kind": "fixed", "base": 0.1}
    )
    done = await final(http, job["id"])
    assert (done["status"], done["attempt"]) == ("FAILED", 2)
    assert [error["kind"] for error in done["errors"]] == ["timeout", "timeout"]


async def test_progress_is_shown(http: httpx.AsyncClient) -> None:
    job = await submit(http, "demo.progress", {"steps": 4, "seconds": 0.4})
    done = await final(http, job["id"])
    assert (done["progress"]["done"], done["progress"]["total"]) == (4, 4)
