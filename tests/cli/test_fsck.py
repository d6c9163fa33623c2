"""`errander fsck`, as a command: what it prints, what it mends, and how it ends; over the API and on the stores."""

import asyncio
import getpass
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import redis

from db.engine import Database
from errander._cli import main
from service.cli import fsck
from tests.cli.conftest import Api
from tests.fixtures.jobs import JobBook


def run(*words: str) -> int:
    """The command, in this process, as it prints for people."""
    return main(["fsck", "-o", "table", *words])


FINDING = {
    "code": "ready-missing",
    "severity": "error",
    "count": 21,
    "examples": ["a", "b"],
    "message": "jobs wait",
    "action": "`errander fsck --repair`",
}
WARNING = FINDING | {"code": "hint-stale", "severity": "warning", "count": 1, "examples": []}


@pytest.mark.parametrize(
    ("findings", "code", "lines"),
    [
        ([], 0, ["clean; looked at: jobs 1,000, ready 2"]),
        ([WARNING], 0, ["warning  hint-stale: 1: ", "clean, 1 warning; looked at: "]),
        ([FINDING, WARNING], 1, ["error    ready-missing: 21: ", "warning  hint-stale: 1: ", "1 error, 1 warning; "]),
    ],
)
def test_it_asks_the_api(
    api: Api, capsys: pytest.CaptureFixture[str], findings: list[Any], code: int, lines: list[str]
) -> None:
    report = {"clean": code == 0, "findings": findings, "looked_at": {"jobs": 1000, "ready": 2}}
    api.replies["/v1/consistency"] = (200, report)
    assert run("--url", api.url) == code
    said = capsys.readouterr().out.splitlines()
    assert [line[: len(begin)] for line, begin in zip(said, lines, strict=True)] == lines
    assert not findings or "→ `errander fsck --repair`" in said[0]
    assert FINDING not in findings or said[0].endswith(" (a, b and 19 more)")
    assert main(["fsck", "-o", "json"]) == code
    assert json.loads(capsys.readouterr().out) == report
    assert main(["fsck", "-o", "jsonl"]) == code
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == findings
    assert main(["fsck", "-o", "id"]) == code
    assert capsys.readouterr().out.split() == [one["code"] for one in findings]


@pytest.mark.parametrize(("status", "problem", "code"), [(403, "forbidden", 4), (500, "internal", 5)])
def test_an_api_that_does_not_say_is_told_from_errors(api: Api, status: int, problem: str, code: int) -> None:
    api.replies["/v1/consistency"] = (status, {"code": problem, "detail": "no"})
    assert run() == code


def test_an_api_that_is_away_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("errander._cli._session.RETRIES", 0)
    assert run("--url", "http://127.0.0.1:9") == 5
    assert "is the API running?" in capsys.readouterr().err


def test_the_stores_are_looked_at_only_where_the_servers_code_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("errander._cli._local.entry_points", lambda **_: [])
    assert run("--repair") == 2
    assert "--repair needs the server's code" in capsys.readouterr().err


async def _submit(url: str, count: int) -> list[UUID]:
    async with await Database.open(url) as database:
        return await JobBook(database).submit_many("report.build", [{}] * count)


def submit(url: str, count: int = 1) -> list[UUID]:
    """Jobs that wait."""
    return asyncio.run(_submit(url, count))


async def _execute(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def execute(url: str, sql: str) -> Any:
    """The first value of a statement."""
    return asyncio.run(_execute(url, sql))


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("words", [("--full",), ("--repair",), ("--full", "--repair")])
def test_a_sound_deployment_is_one_line_and_exit_code_0(
    words: tuple[str, ...], database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(database_url, 3)
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert out == "clean; looked at: history 0, jobs 3, ready 3, redis 0, running 0\n"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("full", [(), ("--full",)])
def test_a_finding_is_one_line_and_a_repair_says_what_it_did(
    full: tuple[str, ...], database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = submit(database_url)
    execute(database_url, "DELETE FROM errander.ready")
    assert run("--full") == 1
    finding, verdict = capsys.readouterr().out.splitlines()
    assert finding.startswith("error    ready-missing: 1: jobs wait, but are missing from the queue")
    assert "→ `errander fsck --repair`" in finding
    assert finding.endswith(f"({job})")
    assert verdict.startswith("1 error; looked at: ")

    assert run(*full, "--repair") == 0
    mended, verdict = capsys.readouterr().out.splitlines()
    assert mended == f"mended   ready-missing: 1 ({job})"
    assert verdict.startswith("clean; ")
    assert run("--full") == 0
    assert execute(database_url, "SELECT by FROM errander.history WHERE event = 'repaired'") == "fsck"
    (told,) = json.loads(execute(database_url, "SELECT jsonb_agg(a) FROM errander.audit a"))
    assert (told["action"], told["actor"]) == ("consistency.repair", f"local:{getpass.getuser()}")
    assert (told["object_ids"], told["after"]) == ([str(job)], {"mended": {"ready-missing": 1}})


@pytest.mark.usefixtures("environment")
def test_a_repair_of_more_than_are_named_mends_all(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    submit(database_url, 250)
    execute(database_url, "DELETE FROM errander.ready")
    assert run("--full") == 1
    assert " and 230 more)" in capsys.readouterr().out
    assert run("--repair") == 0
    assert "mended   ready-missing: 250 (" in capsys.readouterr().out
    assert execute(database_url, "SELECT count(*) FROM errander.ready") == 250


@pytest.mark.usefixtures("environment")
def test_what_a_repair_cannot_mend_is_left_and_told(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    submit(database_url)
    execute(database_url, "DELETE FROM errander.ready")
    execute(database_url, "UPDATE errander.jobs SET failures = 1, attempt = 1, started_at = now()")
    assert run("--repair") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines[:2]] == [
        ["mended", "ready-missing"],
        ["error", "status-wrong"],
    ]


@pytest.mark.usefixtures("environment")
def test_json_is_the_answer_of_the_api_and_what_was_repaired(
    database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = submit(database_url)
    execute(database_url, "DELETE FROM errander.ready")
    with redis.Redis.from_url(redis_url) as client:
        client.zadd("errander:default", {"nonsense": 1})
    assert main(["fsck", "--full"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["code"] for one in found["findings"]] == ["ready-missing", "hint-malformed"]
    assert (found["clean"], found["repaired"], found["last_scheduled"]) == (False, [], None)
    assert main(["fsck", "--repair"]) == 0
    mended = json.loads(capsys.readouterr().out)
    assert (mended["clean"], mended["findings"]) == (True, [])
    assert [(one["code"], one["count"]) for one in mended["repaired"]] == [("ready-missing", 1), ("hint-malformed", 1)]
    assert mended["repaired"][0]["examples"] == [str(job)]


@pytest.mark.usefixtures("environment")
def test_redis_that_is_away_is_a_warning_and_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hidden@127.0.0.1:1/0")
    assert run("--repair") == 0
    out = capsys.readouterr().out
    assert out.startswith("warning  redis-unavailable: 1: Redis could not be asked")
    assert "clean, 1 warning; looked at: " in out
    assert "hidden" not in out


def test_a_database_that_is_away_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x")
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert run("--full") == 5
    captured = capsys.readouterr()
    assert captured.err.startswith("errander fsck: postgresql://u:***@127.0.0.1:1/x cannot be reached: ")
    assert captured.out == ""
    assert "hidden" not in captured.err


def test_a_schema_that_is_behind_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert run("--full") == 5
    assert "run `errander migrate`" in capsys.readouterr().err


def test_a_missing_setting_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--full") == 2
    assert "errander fsck: DATABASE_URL: is not set" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_on_a_terminal_a_full_check_says_how_far_it_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(database_url)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(fsck, "_PROGRESS_SECONDS", 0.0)
    assert run("--full") == 0
    said = capsys.readouterr().err
    assert "jobs: 1 rows looked at" in said
    assert said.endswith("\r\x1b[K"), "and the line is gone at the end"
