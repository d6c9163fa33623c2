"""`errander migrate`, `tasks announce`, `doctor`, `psql`, `api`: as commands, in their own words."""

import argparse
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from service.cli import api, doctor, migrate, psql, tasks
from service.supervise import free_port
from tests.fixtures.dev import ERRANDER
from tests.fixtures.servers import Databases
from tests.fixtures.waiting import eventually_sync
from workers.hints import FINAL_CHANNEL


def run(module: Any, *words: str) -> int:
    """One command, in this process."""
    parser = argparse.ArgumentParser()
    module.register(parser.add_subparsers())
    args = parser.parse_args(words)
    code: int = args.func(args)
    return code


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> None:
    """Addresses of a migrated database and of Redis."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)


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
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/x")
    assert run(migrate, "migrate") == 5
    assert run(tasks, "tasks", "announce") == 5
    assert "127.0.0.1" in capsys.readouterr().err


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


@pytest.mark.usefixtures("environment")
def test_psql_is_given_the_address_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *given: called.append(given))
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:se%40cret@db.example:6543/app?sslmode=require")
    run(psql, "psql", "--", "-c", "select 1")
    ((_, argv, environment),) = called
    assert argv[1:] == ["-c", "select 1"]
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
