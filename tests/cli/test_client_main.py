"""What all client commands share: addresses, exit codes, errors, entry points, signals."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from errander._cli import _main
from tests.cli.conftest import Api, Run, submit


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (401, "unauthenticated", 4, "ERRANDER_TOKEN"),
        (403, "forbidden", 4, "scope"),
        (404, "not-found", 3, "not-found"),
        (409, "not-replayable", 2, "not-replayable"),
        (422, "validation-failed", 2, "/payload/a: too small"),
        (500, "internal", 5, "internal"),
    ],
)
def test_a_refusal_is_one_line_with_the_request_id_and_an_exit_code(
    api: Api, run: Run, *, status: int, code: str, expected: int, said: str
) -> None:
    errors = [{"pointer": "/payload/a", "detail": "too small", "code": "minimum"}]
    api.replies["/v1/jobs/j"] = (status, {"code": code, "detail": "why", "errors": errors})
    found, out, err = run("job", "get", "j")
    assert (found, out) == (expected, "")
    assert err.count("\n") == 1
    assert said in err
    assert "req-9" in err


def test_an_unknown_task_names_what_comes_close(api: Api, run: Run) -> None:
    code, _, err = run("job", "submit", "demo.ad")
    assert code == 2
    assert "did you mean demo.add" in err


def test_an_api_that_is_not_there_is_exit_5_and_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errander._cli._session.RETRIES", 0)
    code, out, err = run("job", "list", "--url", "http://127.0.0.1:9")
    assert (code, out) == (5, "")
    assert "errander dev" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["job"],
        ["job", "submit"],
        ["job", "submit", "demo.add", "not json"],
        ["job", "submit", "demo.add", "[1]"],
        ["job", "submit", "demo.add", "-p", "a"],
        ["job", "submit", "demo.add", "--delay", "soon"],
        ["job", "submit", "demo.add", "--delay", "1m", "--run-at", "2040-01-01T00:00:00Z"],
        ["job", "submit", "demo.add", "--run-at", "2040-01-01T00:00:00"],
        ["job", "submit", "demo.add", "--priority", "urgent"],
        ["job", "submit", "demo.add", "--max-attempts", "0"],
        ["job", "list", "--limit", "x"],
        ["job", "cancel"],
        ["job", "cancel", "id", "--task", "t"],
        ["job", "replay", "--task", "t", "--delay", "5"],
        ["job", "list", "--url", "nowhere"],
        ["job", "list", "-o", "yaml"],
        ["job", "list", "--no-such-option"],
        ["status", "surplus"],
        ["no-such-command"],
        [],
    ],
)
def test_what_cannot_be_meant_is_exit_2(api: Api, run: Run, words: list[str]) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert err or not words
    assert not [request for request in api.requests if request[0] == "POST"]


def test_the_address_is_the_flag_then_the_environment_then_the_file(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errander._cli._session.RETRIES", 0)
    Path(".errander").mkdir()
    Path(".errander/env").write_text("DATABASE_URL=postgres://x?a=b\nERRANDER_URL=http://127.0.0.1:9\n")
    assert run("job", "list")[0] == 0
    assert run("job", "list", "--url", "http://127.0.0.1:9")[0] == 5
    monkeypatch.delenv("ERRANDER_URL")
    assert "127.0.0.1:9:" in run("job", "list")[2]
    Path(".errander/env").write_text(f"ERRANDER_URL={api.url}\n")
    assert run("job", "list")[0] == 0


def test_version_and_help(run: Run) -> None:
    assert run("--version")[:2] == (0, "errander 0.1.0\n")
    code, out, _ = run("job", "submit", "--help")
    assert code == 0
    assert "--run-at" in out


def broken(*values: str) -> list[EntryPoint]:
    return [EntryPoint(name=value, value=value, group="errander.commands") for value in values]


def test_a_broken_entry_point_breaks_no_client_command(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_main, "entry_points", lambda **_: broken("no_such_module_of_commands:register"))
    assert run("job", "list")[0] == 0
    code, out, err = run("--help")
    assert code == 0
    assert "dead-letter" in out
    assert err.count("\n") == 1
    assert "no_such_module_of_commands" in err


def test_a_registered_command_runs_with_its_arguments(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "extra_commands.py").write_text(
        "def register(subparsers):\n"
        "    parser = subparsers.add_parser('extra')\n"
        "    parser.add_argument('n', type=int)\n"
        "    parser.set_defaults(func=lambda args: args.n)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_main, "entry_points", lambda **_: broken("extra_commands:register"))
    assert run("extra", "7")[0] == 7


def test_ctrl_c_is_quiet(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("errander._sync.Runner.run", interrupted)
    assert run("status") == (130, "", "")


def test_a_reader_that_goes_away_is_quiet(api: Api, run: Run) -> None:
    for _ in range(3):
        submit(run, "demo.add", "-p", "a=1", "--metadata", f'x="{"y" * 60_000}"')
    command = [sys.executable, "-m", "errander", "job", "list", "-o", "jsonl", "--url", api.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from errander._cli._main import build_parser\n"
        "build_parser(with_server=False).format_help()\n"
        "assert not {'httpx', 'pydantic', 'asyncio'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
