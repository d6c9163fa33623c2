"""`errander job watch`, `errander job explain`."""

import json

from tests.cli.conftest import Api, Run, submit


def test_watch_prints_each_state_and_ends_as_the_job_ends(api: Api, run: Run) -> None:
    good = submit(run, "demo.add", "-p", "a=1")
    code, out, err = run("job", "watch", good)
    states = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [state["status"] for state in states] == ["PENDING", "SUCCESS"]
    bad = submit(run, "demo.fail", "-p", "message=broken")
    code, out, err = run("job", "watch", bad)
    assert (code, json.loads(out.splitlines()[-1])["status"]) == (1, "FAILED")
    assert "is FAILED: error: broken" in err


def test_watch_is_a_line_a_change_for_people(api: Api, run: Run) -> None:
    bad = submit(run, "demo.fail", "-p", "message=broken")
    _, out, _ = run("job", "watch", bad, "-o", "table")
    first, last = out.splitlines()
    assert "PENDING" in first
    assert "attempt 0" in first
    assert last.endswith("error: broken")
    _, out, _ = run("job", "watch", bad, "-o", "id")
    assert out == f"{bad}\n"


def test_watch_of_a_job_that_is_not_there_is_exit_3(api: Api, run: Run) -> None:
    code, out, err = run("job", "watch", "nobody")
    assert (code, out) == (3, "")
    assert "nobody" in err


def test_explain_is_words_for_people_and_fields_for_programs(api: Api, run: Run) -> None:
    answer = {
        "job_id": "j1",
        "status": "PENDING",
        "running": False,
        "summary": "12 due jobs go before it.",
        "reasons": [
            {"code": "behind-others", "message": "12 due jobs go before it.", "before": 12},
            {"code": "all-slots-busy", "message": "All 10 slots are taken.", "slots": 10},
        ],
        "position": 13,
        "position_exact": True,
        "drain_per_second": 2.0,
        "estimated_start": {"p50": "2026-01-01T12:00:06Z", "p90": "2026-01-01T12:00:09Z"},
        "at": "2026-01-01T12:00:00Z",
    }
    api.replies["/v1/jobs/j1/explain"] = (200, answer)
    code, out, _ = run("job", "explain", "j1", "-o", "table")
    assert (code, out.splitlines()) == (
        0,
        [
            "PENDING: 12 due jobs go before it.",
            "  All 10 slots are taken.",
            "  position 13",
            "  starts about 2026-01-01 12:00:06Z, most likely before 2026-01-01 12:00:09Z",
        ],
    )
    code, out, _ = run("job", "explain", "j1")
    assert (code, json.loads(out)) == (0, answer)
    assert run("job", "explain", "j1", "-o", "id")[1] == "j1\n"
