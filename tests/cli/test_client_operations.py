"""The other client commands: bulk changes, queues, tasks, workers, dead letters, status."""

import json

from tests.cli.conftest import Api, Run, add


def test_bulk_changes_need_yes(api: Api, run: Run) -> None:
    api.replies["/v1/jobs/cancel"] = (200, {"matched": 12, "changed": 0, "more": False})
    code, out, err = run("job", "cancel", "--task", "demo.*")
    assert (code, json.loads(out)["matched"]) == (2, 12)
    assert "12 jobs would be cancelled; add --yes" in err
    assert api.requests[-1][2] == {"filter": {"task": "demo.*"}, "dry_run": True}
    assert run("job", "cancel", "--task", "demo.*", "--dry-run")[0] == 0
    api.replies["/v1/jobs/cancel"] = (200, {"matched": 12, "changed": 12, "more": False})
    code, out, err = run("job", "cancel", "--task", "demo.*", "--yes", "--reason", "r")
    assert (code, json.loads(out)["changed"], err) == (0, 12, "")
    assert api.requests[-1][2] == {"filter": {"task": "demo.*"}, "reason": "r"}


def test_a_bulk_change_that_left_some_says_so(api: Api, run: Run) -> None:
    api.replies["/v1/jobs/replay"] = (200, {"matched": 10_000, "changed": 9_999, "more": True})
    code, out, err = run("job", "replay", "--status", "FAILED", "--yes")
    assert (code, json.loads(out)["changed"]) == (0, 9_999)
    assert "run it again" in err
    assert run("job", "replay", "--status", "FAILED", "--limit", "10000", "--yes")[2] == ""


def test_the_dead_letters_are_replayed_by_filter_or_all(api: Api, run: Run) -> None:
    run("job", "submit", "demo.fail", "--wait")
    failed = run("dead-letter", "list", "-o", "id")[1].strip()
    api.replies["/v1/dead-letter/replay"] = (200, {"matched": 1, "changed": 1, "more": False})
    assert run("dead-letter", "replay")[0] == 2
    assert run("dead-letter", "replay", "--all")[0] == 2
    assert run("dead-letter", "replay", "--all", "--yes")[0] == 0
    assert run("dead-letter", "replay", "--task", "demo.fail", "--yes")[0] == 0
    assert api.requests[-1][2] == {"filter": {"task": "demo.fail"}}
    code, out, _ = run("dead-letter", "replay", failed)
    assert (code, json.loads(out)["status"]) == (0, "PENDING")


def test_queues_tasks_and_workers(api: Api, run: Run, terminal: None) -> None:
    queue = {"queue": "gpu:high", "paused": True, "ready": 3, "oldest_ready_seconds": 1.25}
    api.replies |= {
        "/v1/queues": (200, {"items": [queue]}),
        "/v1/queues/gpu:high/pause": (200, queue),
        "/v1/queues/gpu:high/resume": (200, queue | {"paused": False}),
        "/v1/tasks/demo.add": (200, {"name": "demo.add", "payload_schema": add.payload_schema}),
        "/v1/tasks/demo.add/pause": (200, {"name": "demo.add", "paused": True}),
        "/v1/tasks/demo.add/resume": (200, {"name": "demo.add"}),
        "/v1/workers": (200, {"items": [{"id": "w1", "host": "h", "priorities": ["high", "low"]}]}),
        "/v1/workers/w1/drain": (200, {}),
    }
    assert "1.2s" in run("queue", "list")[1]
    assert run("queue", "pause", "gpu:high", "--reason", "deploy", "-o", "id")[1] == "gpu:high\n"
    assert api.requests[-1][2] == {"reason": "deploy"}
    assert run("queue", "resume", "gpu:high")[0] == 0
    assert "a [b]" in run("task", "list")[1]
    assert "payload_schema" in run("task", "show", "demo.add")[1]
    assert run("task", "pause", "demo.add")[0] == 0
    assert run("task", "resume", "demo.add")[0] == 0
    assert "high, low" in run("workers")[1]
    assert run("workers", "drain", "w1")[0] == 0
    assert api.requests[-1][:2] == ("POST", "/v1/workers/w1/drain")
    assert run("workers", "drain")[0] == 2
    assert run("workers", "list", "w1")[0] == 2


def test_history_is_listed(api: Api, run: Run) -> None:
    api.replies["/v1/jobs/j/history"] = (200, {"items": [{"event": "submitted"}, {"event": "started"}]})
    assert run("job", "history", "j", "-o", "id")[1].split() == ["submitted", "started"]


def test_status_says_whether_the_service_is_ready(api: Api, run: Run) -> None:
    api.replies |= {
        "/readyz": (200, {"status": "ok", "checks": {"postgres": "ok"}}),
        "/v1/stats": (200, {"jobs": {"PENDING": 2}, "workers": 1}),
        "/v1/queues": (200, {"items": [{"queue": "high"}]}),
    }
    code, out, _ = run("status")
    assert (code, json.loads(out)["status"], json.loads(out)["jobs"]) == (0, "ok", {"PENDING": 2})
    api.replies["/readyz"] = (503, {"status": "unavailable", "checks": {"postgres": "away"}})
    code, out, _ = run("status")
    assert (code, json.loads(out)["checks"]) == (5, {"postgres": "away"})


def test_status_is_a_few_lines_for_people(api: Api, run: Run, terminal: None) -> None:
    lately = {"submitted": 1234, "succeeded": 1200, "failed": 3, "wait_p50": 0.030643304, "wait_p95": 1.2}
    jobs = {"PENDING": 2, "RUNNING": 0, "SUCCESS": 12345}
    api.replies |= {
        "/readyz": (200, {"status": "ok", "checks": {"postgres": "ok", "redis": "ok"}}),
        "/v1/stats": (200, {"jobs": jobs, "jobs_estimated": True, "workers": 0, "last_5_minutes": lately}),
        "/v1/version": (200, {"version": "9"}),
        "/v1/queues": (200, {"items": [{"queue": "high", "running": 7}]}),
    }
    code, out, _ = run("status")
    lines = out.splitlines()
    assert code == 0
    assert [line.split("  ")[0] for line in lines[:8]] == [
        *("url", "status", "checks", "version", "workers", "jobs", "last 5 minutes", "times")
    ]
    said = [line.split("  ", 1)[1].strip() for line in lines[2:8]]
    assert said == [
        "postgres ok, redis ok",
        "9",
        "0",
        "about PENDING 2, SUCCESS 12,345",
        "submitted 1,234, succeeded 1,200, failed 3",
        "wait p50 0.031 s, p95 1.200 s",
    ]
    assert lines[8].startswith("QUEUE")
    assert "\x1b" not in lines[8], "a heading is no status, even where it is the same word"


def test_a_job_that_may_run_at_most_once_is_submitted(api: Api, run: Run) -> None:
    assert run("job", "submit", "demo.add", "-p", "a=1", "--max-attempts", "1", "--max-crashes", "1")[0] == 0
    assert api.requests[-1][2] == {"task": "demo.add", "payload": {"a": 1}, "max_attempts": 1, "max_crashes": 1}
