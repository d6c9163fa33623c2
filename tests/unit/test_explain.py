"""What is said about a job that does not run: pure, over facts as a test wants them."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from db.lifecycle import JobStatus
from db.records import JobRecord
from db.standing import BOUND, Holds, Server
from service.explain import Facts, explanation, start_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FREE = Server("default", ("high", "default"), slots=10, running=4, drains=False)
BUSY = replace(FREE, running=10)


def job(status: JobStatus = JobStatus.PENDING, **columns: Any) -> JobRecord:
    given = {
        "id": uuid4(),
        "task": "report.build",
        "pool": "default",
        "priority": "default",
        "status": status,
        "attempt": 0,
        "failures": 0,
        "crashes": 0,
        "max_crashes": 3,
        "timeout": 60.0,
        "run_at": NOW - timedelta(seconds=5),
        "depends_on": [],
    }
    return JobRecord.of((given | columns).items())


def facts(record: JobRecord | None = None, **changes: Any) -> Facts:
    plain = Facts(record or job(), "default", Holds(NOW, None, None, None, None), [FREE], 0, 2.0, redis_away=False)
    return replace(plain, **changes)


def codes(given: Facts) -> list[str]:
    return [reason["code"] for reason in explanation(given)["reasons"]]


def test_a_due_job_with_a_free_worker_is_next() -> None:
    found = explanation(facts())
    assert codes(facts()) == ["next"]
    assert found["summary"] == "Nothing stands in its way: it starts within 1 second."
    assert (found["position"], found["position_exact"], found["running"]) == (1, True, False)
    assert found["reasons"][0]["slots_free"] == 6
    assert found["estimated_start"] == {"p50": "2026-01-01T12:00:00.000000Z", "p90": "2026-01-01T12:00:01.000000Z"}


def test_a_job_behind_others_knows_how_many_and_when() -> None:
    found = explanation(facts(servers=[BUSY], before=99))
    assert codes(facts(servers=[BUSY], before=99)) == ["behind-others", "all-slots-busy"]
    assert found["summary"] == "99 due jobs of the queue default go before it."
    assert found["reasons"][0]["position"] == found["position"] == 100
    assert found["reasons"][1] == {
        "code": "all-slots-busy",
        "message": "All 10 slots of the workers that could start it are taken.",
        "slots": 10,
        "running": 10,
    }
    start = found["estimated_start"]
    assert "2026-01-01T12:00:49" < start["p50"] < "2026-01-01T12:00:51" < start["p90"] < "2026-01-01T12:00:58"


def test_a_count_that_stopped_at_its_bound_says_so() -> None:
    found = explanation(facts(servers=[BUSY], before=BOUND))
    assert (found["position"], found["position_exact"]) == (BOUND + 1, False)
    assert found["summary"].startswith("At least 10000 due jobs")


def test_where_nothing_ends_no_start_is_foretold() -> None:
    found = explanation(facts(servers=[BUSY], before=3, drain_per_second=0.0))
    assert (found["drain_per_second"], found["estimated_start"]) == (0.0, None)


@pytest.mark.parametrize(("status", "code"), [(JobStatus.PENDING, "scheduled"), (JobStatus.RETRYING, "retry-wait")])
def test_a_job_whose_time_has_not_come_says_when(status: JobStatus, code: str) -> None:
    later = facts(job(status, run_at=NOW + timedelta(minutes=90), failures=2))
    found = explanation(later)
    assert codes(later) == [code]
    assert found["reasons"][0]["seconds"] == 5_400.0
    assert found["reasons"][0]["run_at"] == "2026-01-01T13:30:00.000000Z"
    assert "in 1 h 30 min" in found["summary"]
    assert (found["position"], found["estimated_start"]["p50"]) == (None, "2026-01-01T13:30:00.000000Z")


def test_what_is_paused_is_named_with_its_reason() -> None:
    paused = facts(holds=Holds(NOW, NOW - timedelta(hours=1), "deploy", NOW, None))
    found = explanation(paused)
    assert codes(paused) == ["queue-paused", "task-paused"]
    assert found["summary"] == "The queue default is paused (deploy)."
    assert found["reasons"][0]["since"] == "2026-01-01T11:00:00.000000Z"
    assert found["reasons"][1]["task"] == "report.build"
    assert (found["position"], found["estimated_start"]) == (None, None)


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ([], "no live worker has the task"),
        ([replace(FREE, pool="gpu")], "it is served from gpu:default, gpu:high"),
        ([replace(FREE, priorities=("low",))], "it is served from default:low"),
        ([replace(FREE, drains=True)], "those that have the task drain"),
    ],
)
def test_without_a_worker_it_says_who_has_the_task(servers: list[Server], says: str) -> None:
    found = explanation(facts(servers=servers))
    assert codes(facts(servers=servers)) == ["no-worker"]
    assert says in found["summary"]
    assert found["estimated_start"] is None


def test_what_is_beside_the_way_comes_last() -> None:
    given = facts(job(expires_at=NOW + timedelta(seconds=30), crashes=2), redis_away=True)
    assert codes(given) == ["next", "expires", "isolated", "redis-away"]
    assert explanation(given)["reasons"][1]["seconds"] == 30.0


def test_an_expired_job_is_about_to_be_cancelled() -> None:
    given = facts(job(expires_at=NOW))
    assert codes(given)[0] == "expired"
    assert explanation(given)["estimated_start"] is None


def test_a_job_that_waits_for_others_names_them() -> None:
    parent = uuid4()
    given = facts(job(JobStatus.WAITING, depends_on=[parent]))
    assert codes(given) == ["dependencies"]
    assert explanation(given)["reasons"][0]["depends_on"] == [str(parent)]


def test_a_running_job_says_since_when_and_how_long_it_may() -> None:
    worker = uuid4()
    columns = {"worker_id": worker, "attempt": 2, "started_at": NOW - timedelta(seconds=12)}
    given = facts(job(JobStatus.RUNNING, **columns))
    found = explanation(given)
    assert (codes(given), found["running"]) == (["running"], True)
    assert found["summary"] == "The job has been running for 12.0 s, in attempt 2."
    assert (found["reasons"][0]["timeout_left"], found["reasons"][0]["worker"]) == (48.0, str(worker))
    assert (found["drain_per_second"], found["position"], found["estimated_start"]) == (None, None, None)
    asked = facts(job(JobStatus.RUNNING, **columns, cancel_requested_at=NOW, crashes=2))
    assert codes(asked) == ["cancel-requested", "running", "isolated"]


@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_final_job_says_that_it_is(status: JobStatus) -> None:
    given = facts(job(status, finished_at=NOW, cancelled_by="client", cancel_reason="twice"))
    assert codes(given) == ["final"]
    assert explanation(given)["reasons"][0]["finished_at"] == "2026-01-01T12:00:00.000000Z"


def test_estimates_are_the_quantiles_of_the_gamma_distribution() -> None:
    for ends, p50, p90 in ((1, math.log(2), math.log(10)), (10, 9.6687, 14.2060), (100, 99.6669, 113.0313)):
        found = start_after(ends, 1.0)
        assert found is not None
        assert found == pytest.approx((p50, p90), rel=0.03)
        assert start_after(ends, 4.0) == pytest.approx((found[0] / 4, found[1] / 4))
    assert start_after(0, None) == (0.0, 1.0)
    assert start_after(1, 0.0) is None
    assert start_after(1, None) is None
