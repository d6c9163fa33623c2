"""`errander job …`: submit, look, act, print."""

import io
import json

import pytest

from tests.cli.conftest import Api, Run, submit


def test_submit_prints_the_job_as_json_in_a_pipe(api: Api, run: Run) -> None:
    code, out, err = run("job", "submit", "demo.add", '{"a": 1}', "--priority", "high", "--tag", "x", "--tag", "y")
    job = json.loads(out)
    assert (code, err) == (0, "")
    assert (job["task"], job["payload"], job["priority"], job["tags"]) == ("demo.add", {"a": 1}, "high", ["x", "y"])


def test_parameters_are_json_else_text_and_lie_on_top_of_the_payload(api: Api, run: Run) -> None:
    _, out, _ = run("job", "submit", "demo.fail", '{"message": "x"}', "-p", "message=two words")
    assert json.loads(out)["payload"] == {"message": "two words"}
    _, out, _ = run("job", "submit", "demo.add", "-p", "a=5", "-p", "b=-2")
    assert json.loads(out)["payload"] == {"a": 5, "b": -2}


def test_a_payload_is_read_from_standard_input(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 7}'))
    _, out, _ = run("job", "submit", "demo.add", "-")
    assert json.loads(out)["payload"] == {"a": 7}


def test_submit_sends_what_was_asked_for_and_nothing_else(api: Api, run: Run) -> None:
    words = ["--delay", "1h30m", "--key", "k-1", "--max-attempts", "2", "--pool", "gpu", "--timeout", "90s"]
    run("job", "submit", "demo.add", "-p", "a=1", *words, "--metadata", "n=5")
    run("job", "submit", "demo.add", "-p", "a=1", "--run-at", "2040-01-01T01:00:00+01:00")
    assert api.requests[0][2] == {
        "task": "demo.add",
        "payload": {"a": 1},
        "delay": 5400.0,
        "max_attempts": 2,
        "pool": "gpu",
        "timeout": 90.0,
        "metadata": {"n": 5},
    }
    assert api.fake.jobs[0]["idempotency_key"] == "k-1"
    assert api.requests[1][2]["run_at"] == "2040-01-01T00:00:00Z"


def test_submit_wait_ends_as_the_job_ends(api: Api, run: Run) -> None:
    code, out, err = run("job", "submit", "demo.add", "-p", "a=1", "--wait")
    assert (code, json.loads(out)["result"], err) == (0, 2, "")
    code, out, err = run("job", "submit", "demo.fail", "-p", "message=broken", "--wait", "10")
    assert (code, json.loads(out)["status"]) == (1, "FAILED")
    assert "is FAILED: error: broken" in err


def test_a_wait_that_takes_too_long_is_exit_5_and_names_the_way_on(api: Api, run: Run) -> None:
    api.fake.autorun = False
    code, out, err = run("job", "submit", "demo.add", "-p", "a=1", "--wait", "0.05")
    assert (code, json.loads(out)["status"]) == (5, "PENDING")
    assert f"errander job wait {json.loads(out)['id']}" in err
    code, _, err = run("job", "wait", json.loads(out)["id"], "--timeout", "0")
    assert code == 5
    assert "it goes on" in err


def test_get_wait_cancel_replay_and_run_now_take_ids(api: Api, run: Run) -> None:
    good, bad = submit(run, "demo.add", "-p", "a=1"), submit(run, "demo.fail")
    code, out, _ = run("job", "wait", good, bad, "-o", "jsonl")
    assert (code, [json.loads(line)["status"] for line in out.splitlines()]) == (1, ["SUCCESS", "FAILED"])
    later = submit(run, "demo.add", "-p", "a=1", "--delay", "1h")
    code, out, _ = run("job", "run-now", later)
    assert code == 0
    code, out, _ = run("job", "cancel", later, "--reason", "no need")
    assert (code, json.loads(out)["cancel_reason"]) == (0, "no need")
    code, out, _ = run("job", "replay", later, "--delay", "5m", "--payload", '{"a": 9}', "--max-attempts", "1")
    assert (json.loads(out)["status"], json.loads(out)["payload"]) == ("PENDING", {"a": 9})
    code, out, _ = run("job", "get", good)
    assert json.loads(out)["result"] == 2


def test_one_bad_id_of_several_is_reported_and_the_others_are_done(api: Api, run: Run) -> None:
    good = submit(run, "demo.add", "-p", "a=1", "--delay", "1h")
    code, out, err = run("job", "cancel", "nobody", good)
    assert code == 3
    assert [job["status"] for job in json.loads(out)] == ["CANCELLED"]
    assert "nobody: 404 not-found" in err


def test_list_has_four_ways_to_print(api: Api, run: Run, terminal: None) -> None:
    ids = [submit(run, "demo.add", "-p", "a=1", "--tag", "t") for _ in range(3)][::-1]
    assert run("job", "list", "-o", "id")[1].split() == ids
    assert [json.loads(line)["id"] for line in run("job", "list", "-o", "jsonl")[1].splitlines()] == ids
    assert [job["id"] for job in json.loads(run("job", "list", "-o", "json")[1])] == ids
    table = run("job", "list", "--limit", "2")[1].splitlines()
    assert table[0].split()[:3] == ["ID", "TASK", "STATUS"]
    assert [line.split()[0] for line in table[1:]] == ids[:2]


def test_list_filters(api: Api, run: Run) -> None:
    run("job", "list", "--status", "FAILED", "--status", "CANCELLED", "--task", "demo.*", "--tag", "a", "--key", "k")
    target = api.requests[-1][1]
    assert "status=FAILED&status=CANCELLED&task=demo.%2A&tag=a&idempotency_key=k&limit=50" in target
    run("job", "list", "--metadata", "n=5", "--scheduled", "--include", "payload")
    assert "scheduled=true&metadata.n=5&include=payload" in api.requests[-1][1]


def test_a_table_has_colours_on_a_terminal_unless_they_are_unwanted(
    api: Api, run: Run, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("job", "submit", "demo.fail", "--wait")
    assert "\x1b[31mFAILED" in run("job", "list")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("job", "list")[1]


def test_what_strangers_wrote_cannot_move_the_cursor(api: Api, run: Run, terminal: None) -> None:
    run("job", "submit", "demo.fail", "-p", "message=\x1b[2J\x07gone", "--wait", "-o", "json")
    out = run("dead-letter", "list")[1]
    assert "gone" in out
    assert "\x1b[2J" not in out


def test_an_empty_table_says_so(api: Api, run: Run, terminal: None) -> None:
    assert run("job", "list") == (0, "", "errander: nothing found\n")
