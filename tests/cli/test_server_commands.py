"""`errander migrate`, `tasks announce`, `doctor`, `psql`, `api`: as commands, in their own words."""

import argparse
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from db.settings import read
from errander._cli import main
from service.cli import api, doctor, migrate, psql, tasks
from service.dev.folder import DataFolder
from service.supervise import Part, free_port
from tests.fixtures.dev import ERRANDER
from tests.fixtures.servers import Databases
from tests.fixtures.waiting import eventually_sync
from workers import command
from workers.hints import FINAL_CHANNEL
from workers.settings import LEAVING_SECONDS, WorkerSettings


def run(module: Any, *words: str) -> int:
    """One command, in this process."""
    parser = argparse.ArgumentParser()
    module.register(parser.add_subparsers())
    args = parser.parse_args(words)
    code: int = args.func(args)
    return code


@pytest.fixture
def empty_database(monkeypatch: pytest.MonkeyPatch, databases: Databases) -> Iterator[None]:
    """DATABASE_URL of a database that nobody has migrated."""
    name = databases.create()
    monkeypatch.setenv("DATABASE_URL", databases.server.url_of(name))
    yield
    databases.drop(name)


@pytest.mark.usefixtures("empty_database")
def test_migrate_brings_a_database_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(migrate, "migrate", "--check") == 1
    assert "this version needs" in capsys.readouterr().out
    for _ in range(2):
        assert run(migrate, "migrate") == 0
    assert run(migrate, "migrate", "--check") == 0
    assert capsys.readouterr().out.splitlines() == ["the schema is up to date"] * 3


def test_a_missing_setting_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(migrate, "migrate") == 2
    assert capsys.readouterr().err == "errander migrate: DATABASE_URL: is not set\n"


def test_a_database_that_is_away_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x")
    for words in (["migrate"], ["migrate", "--check"], ["tasks", "announce"], ["fsck", "--repair"]):
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
        assert main(words) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert "postgresql://u:***@127.0.0.1:1/x cannot be reached: " in line
        assert "check DATABASE_URL" in line


def test_an_address_that_is_none_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hidden@h/x")
    for words in (["migrate"], ["tasks", "announce"], ["fsck", "--full"], ["api"], ["worker"], ["psql"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"errander {' '.join(words[:1])}")
        assert line.count("DATABASE_URL") == 1
        assert "hidden" not in line


@pytest.mark.parametrize(
    "words",
    [
        ("fsck", "--repair"),
        ("fsck", "--full"),
        ("key", "create", "--local", "--name", "a", "--scope", "admin"),
    ],
)
def test_the_address_of_an_api_is_refused_where_none_is_asked(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--url", "http://127.0.0.1:9"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("works on DATABASE_URL itself and asks no API: leave out --url")


@pytest.mark.usefixtures("environment")
def test_announced_tasks_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ERRANDER_BUILTIN_TASKS", "demo")
    assert run(tasks, "tasks", "announce") == 0
    assert "demo.echo" in capsys.readouterr().out
    monkeypatch.setenv("ERRANDER_TASKS", "no_such_module_anywhere")
    assert run(tasks, "tasks", "announce") == 2
    assert "no_such_module_anywhere" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_the_doctor_looks_at_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(doctor, "doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    subjects = {line.split(":")[0].split(maxsplit=1)[1] for line in lines if not line.startswith(" ")}
    assert subjects == {
        *("postgres", "postgres clock", "role", "schema", "workers", "tasks"),
        *("redis", "redis memory", "redis clock"),
    }
    assert not any(line.startswith("fail") for line in lines)
    assert any("start `errander worker`" in line for line in lines)


def test_the_doctor_fails_when_nothing_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x")
    monkeypatch.setenv("REDIS_URL", "redis://:hidden@127.0.0.1:1/0")
    assert run(doctor, "doctor") == 1
    out = capsys.readouterr().out
    assert [line[:4] for line in out.splitlines() if line[0] != " "] == ["fail", "fail"]
    assert "hidden" not in out


@pytest.mark.usefixtures("empty_database")
def test_the_doctor_says_that_the_schema_is_behind(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert run(doctor, "doctor") == 1
    assert "run `errander migrate`" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", "select 1"],
        ["-tAc", "select 1"],
        ["-h", "elsewhere", "--host=elsewhere", "app", "--help-me", "-V"],
        ["--", "--help"],
    ],
)
def test_psql_is_given_the_arguments_as_they_are_and_the_address_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *given: called.append(given))
    monkeypatch.setattr(psql, "program", lambda: "/usr/bin/psql")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:se%40cret@db.example:6543/app?sslmode=require")
    main(["psql", *words])
    ((_, argv, environment),) = called
    assert argv[1:] == [word for word in words if word != "--"]
    wanted = {
        "PGHOST": "db.example",
        "PGPORT": "6543",
        "PGUSER": "me",
        "PGPASSWORD": "se@cret",
        "PGDATABASE": "app",
        "PGSSLMODE": "require",
    }
    assert wanted.items() <= environment.items()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "words",
    [
        ("worker", "--processes", "2"),
        ("worker",),
        ("dev",),
        ("api", "--with-worker"),
    ],
)
def test_settings_of_a_worker_are_refused_before_anything_is_started(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERRANDER_WITH_WORKER", "")  # put back what the command sets
    monkeypatch.setattr("service.supervise.run_parts", lambda _parts: pytest.fail("started"))
    monkeypatch.setattr("workers.garbage.pause", lambda: None)  # it is for the whole process
    (tmp_path / "drain").write_text("soon")
    monkeypatch.setenv("ERRANDER_DRAIN_SECONDS_FILE", str(tmp_path / "drain"))
    assert main([*words]) == 2
    assert capsys.readouterr().err.startswith(f"errander {words[0]}: ERRANDER_DRAIN_SECONDS: Input should be")
    assert [path.name for path in tmp_path.iterdir()] == ["drain"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("DATABASE_URL=mysql://u:hidden@h/x", "DATABASE_URL: must begin with postgresql://"),
        ("REDIS_URL=http://:hidden@h", "REDIS_URL: must begin with redis://"),
        ("ERRANDER_METRICS_PORT=65535", "ERRANDER_METRICS_PORT (65535): each of 2 processes has a port"),
        ("ERRANDER_METRICS_PORT_FILE=latin", "ERRANDER_METRICS_PORT_FILE: latin cannot be read: it is not text"),
    ],
)
def test_what_no_worker_can_use_is_refused_before_one_is_started(
    given: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.supervise.run_parts", lambda _parts: pytest.fail("started"))
    (tmp_path / "latin").write_bytes("höchstens 9464".encode("latin-1"))
    name, _, value = given.partition("=")
    monkeypatch.setenv(name, value)
    assert main(["worker", "--processes", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"errander worker: {said}")
    assert "hidden" not in line


@pytest.mark.usefixtures("environment")
def test_a_worker_whose_tasks_cannot_be_imported_says_that_it_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRANDER_METRICS_PORT", "0")
    monkeypatch.setattr("workers.garbage.settle", lambda: None)  # it is for the whole process
    settings = read(WorkerSettings, tasks=("no_such_module_anywhere",))
    assert command.run(settings) == command.REFUSED
    assert "no_such_module_anywhere" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_several_workers_are_told_apart_and_have_the_time_they_were_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Part] = []

    def run_parts(parts: list[Part]) -> int:
        started.extend(parts)
        return 0

    monkeypatch.setattr("service.supervise.run_parts", run_parts)
    for name, value in (("ERRANDER_DRAIN_SECONDS", "60"), ("ERRANDER_METRICS_PORT", "9000")):
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.setenv("ERRANDER_POOL", "")  # put back what the command sets
    assert main(["worker", "--processes", "2", "--pool", "gpu", "--burst"]) == 0
    assert [part.grace for part in started] == [60 + LEAVING_SECONDS] * 2
    environments = [part.env or {} for part in started]
    assert [env["ERRANDER_METRICS_PORT"] for env in environments] == ["9000", "9001"]
    assert {env["ERRANDER_POOL"] for env in environments} == {"gpu"}
    assert {part.argv[1:] for part in started} == {("worker", "--burst")}
    assert {part.exit_refused for part in started} == {command.REFUSED}


@pytest.mark.parametrize(
    "words",
    [
        ("api", "--port", "99999"),
        ("api", "--port", "-1"),
        ("api", "--processes", "0"),
        ("worker", "--processes", "0"),
        ("worker", "--processes", "-3"),
        ("dev", "--port", "99999"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words]) == 2
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize("words", [("migrate",), ("tasks", "announce"), ("doctor",), ("fsck", "--full"), ("psql",)])
def test_the_addresses_of_errander_dev_are_offered_where_there_are_some(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words]) == 2
    assert ".errander/env" not in capsys.readouterr().err
    (tmp_path / ".errander").mkdir()
    DataFolder(tmp_path / ".errander").write_env({"DATABASE_URL": "postgresql://u:p@h/d?a=b&c=d", "REDIS_URL": "r"})
    assert main([*words]) == 2
    hint = capsys.readouterr().err.splitlines()[-1].partition("`errander dev`: ")[2]
    shell = ["sh", "-c", f'{hint}; printf %s "$DATABASE_URL"']
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "postgresql://u:p@h/d?a=b&c=d"


@pytest.mark.usefixtures("environment")
def test_the_api_does_not_start_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(api, "api") == 2
    assert "ERRANDER_AUTH=off" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_the_api_serves_releases_held_answers_and_ends(tmp_path: Any, redis_url: str) -> None:
    port = free_port()
    command = [str(ERRANDER), "api", "--port", str(port)]
    given = os.environ | {"ERRANDER_AUTH": "off", "ERRANDER_BUILTIN_TASKS": "demo"}
    subprocess.run([str(ERRANDER), "tasks", "announce"], env=given, check=True, capture_output=True, cwd=tmp_path)
    with subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            url = f"http://127.0.0.1:{port}"

            def ready() -> bool:
                try:
                    return httpx.get(f"{url}/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            eventually_sync(ready, timeout=30)
            taken = subprocess.run(command, env=given, capture_output=True, text=True, check=False, cwd=tmp_path)
            assert (taken.returncode, "--port" in taken.stderr) == (1, True)
            job = httpx.post(f"{url}/v1/jobs", json={"task": "demo.echo"}).json()
            redis: Any = Redis.from_url(redis_url)  # its stubs are those of both kinds of client at once
            held = ["curl", "-s", f"{url}/v1/jobs/{job['id']}?wait=30"]
            with subprocess.Popen(held, stdout=subprocess.PIPE, text=True) as waiting:
                # the API listens for ends while, and only while, somebody waits
                eventually_sync(lambda: redis.pubsub_numsub(FINAL_CHANNEL)[0][1] > 0)
                process.send_signal(signal.SIGTERM)
                assert waiting.stdout is not None
                assert json.loads(waiting.stdout.read())["status"] == "PENDING"
            redis.close()
            assert process.wait(timeout=10) in (0, -signal.SIGTERM)
        finally:
            if process.poll() is None:
                process.kill()
