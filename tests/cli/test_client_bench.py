"""`errander bench`: bounded phases against an API, and what is made of what they saw."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from errander import Job
from errander._cli._bench import Found, figures
from tests.cli.conftest import Api, Run

QUICK = ("bench", "--task", "demo.add", "-p", "a=1", "--jobs", "30", "--pickups", "3", "--concurrency", "4")
START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def running(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The API runs what waits whenever somebody looks at the list."""
    plain = api.fake.send

    def send(call: Any) -> Any:
        if (call.method, call.path) == ("GET", "/v1/jobs"):
            asyncio.run(api.fake.run_all())
        return plain(call)

    monkeypatch.setattr(api.fake, "send", send)
    return api


def test_every_phase_submits_its_jobs_and_all_of_them_are_run(running: Api, run: Run) -> None:
    code, out, err = run(*QUICK)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["jobs"], said["not_successful"]) == (63, 0)
    assert said["submit_per_second"] > 0
    assert said["bulk_per_second"] > 0
    assert {job["status"] for job in running.fake.jobs} == {"SUCCESS"}
    assert {tuple(job["tags"]) for job in running.fake.jobs} == {(said["tag"],)}


def test_failing_jobs_are_counted_and_are_an_exit_code(running: Api, run: Run) -> None:
    code, out, _ = run("bench", "--task", "demo.fail", "--jobs", "2", "--pickups", "1")
    assert (code, json.loads(out)["not_successful"]) == (1, 5)


def test_when_time_is_up_what_waits_is_cancelled(api: Api, run: Run) -> None:
    api.replies["/v1/jobs/cancel"] = (200, {"matched": 60, "changed": 60, "more": False})
    code, out, err = run(*QUICK, "--seconds", "1")
    assert code == 5
    assert "was cancelled" in err
    said = json.loads(out)
    assert said["drain_per_second"] is None
    assert api.requests[-1][1] == "/v1/jobs/cancel"
    assert api.requests[-1][2]["filter"] == {"tag": [said["tag"]], "status": ["PENDING", "RETRYING"]}


def test_trouble_in_the_middle_is_one_line_and_leaves_nothing_behind(api: Api, run: Run) -> None:
    api.replies["/v1/jobs/cancel"] = (200, {"matched": 3, "changed": 3, "more": False})
    api.replies["/v1/jobs"] = (403, {"code": "forbidden", "title": "forbidden", "detail": "no", "status": 403})
    code, out, err = run(*QUICK)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    assert api.requests[-1][1] == "/v1/jobs/cancel"


def test_a_task_that_nobody_runs_is_refused_before_anything_is_submitted(api: Api, run: Run) -> None:
    code, _, err = run("bench")
    assert (code, api.fake.jobs) == (2, [])
    assert "nothing has announced demo.echo" in err
    api.replies["/v1/tasks"] = (200, {"items": [{"name": "demo.echo", "live": 0}]})
    code, _, err = run("bench")
    assert (code, api.fake.jobs) == (2, [])
    assert "no live worker has demo.echo" in err


@pytest.mark.parametrize("option", [("--jobs", "100001"), ("--concurrency", "257"), ("--pickups", "0")])
def test_the_numbers_are_bounded(run: Run, option: tuple[str, str]) -> None:
    code, _, err = run("bench", *option)
    assert code == 2
    assert option[0] in err


def job(number: int, *, created: float, started: float, finished: float) -> Job:
    moments = {"created_at": created, "started_at": started, "finished_at": finished}
    return Job(
        id=str(number), status="SUCCESS", **{name: START + timedelta(seconds=at) for name, at in moments.items()}
    )


def test_pickup_and_drain_are_computed_from_the_servers_moments() -> None:
    found = Found(
        quiet=[job(n, created=n, started=n + 0.001 * (n + 1), finished=n + 1) for n in range(10)],
        requests=[0.002] * 98 + [0.5, 0.7],
        submit_seconds=0.5,
        bulk_seconds=0.25,
        singles=["19"],
        batched=["20", "21", "22"],
        ended={str(n): job(n, created=0, started=n, finished=n + 2) for n in (19, 20, 21)},
    )
    assert figures(found) == {
        "jobs": 14,
        "not_successful": 0,
        "submit_per_second": 200.0,
        "submit_p50_ms": 2.0,
        "submit_p99_ms": 500.0,
        "bulk_per_second": 12.0,
        "drain_per_second": 0.7,
        "pickup_p50_ms": 5.0,
        "pickup_p90_ms": 9.0,
        "pickup_p99_ms": 10.0,
    }


def test_what_was_not_measured_is_not_made_up() -> None:
    assert {name for name, value in figures(Found()).items() if value is not None} == {"jobs", "not_successful"}
