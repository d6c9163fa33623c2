"""`errander dev` with real servers and a stand-in for its own parts: order, reload, refusals, ends of every kind."""

import argparse
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

import service
from service.cli import dev
from service.supervise import free_port
from tests.fixtures.dev import READY, DevProcess
from tests.fixtures.waiting import eventually_sync

DRIVER = """
import argparse, sys
import service.dev.stack
from service.cli import dev
service.dev.stack._errander = lambda: sys.argv[1]
parser = argparse.ArgumentParser()
dev.register(parser.add_subparsers())
arguments = parser.parse_args(["dev", "--port", sys.argv[2], *sys.argv[3:]])
sys.exit(arguments.func(arguments))
"""
STAND_IN = Path(__file__).parents[1] / "fixtures" / "stand_in.py"

Start = Callable[..., DevProcess]


@pytest.fixture
def start(server_folder: Path) -> Iterator[Start]:
    program = server_folder / "bin" / "errander"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    started: list[DevProcess] = []

    def make(*options: str, port: int | None = None, **env: str) -> DevProcess:
        command = (sys.executable, "-P", "-c", DRIVER, str(program), str(port or free_port()))
        paths = {"PYTHONPATH": str(Path(service.__file__).parents[1])}
        process = DevProcess(server_folder, *options, command=command, env={**paths, **env})
        started.append(process)
        return process

    yield make
    for process in started:
        with process:
            pass


def running(processes: dict[str, psutil.Process]) -> list[str]:
    return [name for name, process in processes.items() if process.is_running() and process.status() != "zombie"]


def test_all_parts_come_up_in_order_and_go_cleanly(start: Start) -> None:
    process = start("--workers", "2").ready()
    parts = process.parts()
    assert sorted(parts) == ["api", "postgres", "valkey", "worker-1", "worker-2"]
    assert all(os.getsid(part.pid) == part.pid for part in parts.values())
    said = [line.split(" | started ")[1] for line in process.output.splitlines() if " | started " in line]
    # The API and the workers start together; only the servers come before both.
    assert sorted(words.split()[0] for words in said) == ["api", "tasks", "worker", "worker"]
    began = {name: part.create_time() for name, part in parts.items()}
    assert max(began["postgres"], began["valkey"]) < min(began["api"], began["worker-1"], began["worker-2"])
    assert process.output.rstrip().splitlines()[-1] == f"{READY}{process.url}"
    assert process.stop() == 0
    assert running(parts) == []


def test_the_env_file_is_the_owners_and_holds_five_names(start: Start) -> None:
    process = start().ready()
    assert stat.S_IMODE((process.data / "env").stat().st_mode) == 0o600
    values = process.env_file()
    assert list(values) == ["DATABASE_URL", "REDIS_URL", "ERRANDER_URL", "ERRANDER_TASKS", "ERRANDER_BUILTIN_TASKS"]
    assert values["ERRANDER_URL"] == process.url
    assert values["ERRANDER_BUILTIN_TASKS"] == "all"
    with redis.Redis.from_url(values["REDIS_URL"]) as client:
        assert client.ping()


def test_a_second_one_in_the_same_folder_says_so(start: Start) -> None:
    first = start().ready()
    second = start()
    assert second.wait() == 1
    assert f"errander: errander dev already runs in {first.data} (process {first.process.pid})" in second.output
    assert running(first.parts()) == list(first.parts())


def test_a_taken_port_is_one_line_that_names_the_option(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(port=taken.getsockname()[1])
        assert process.wait() == 1
    assert len(process.output.splitlines()) == 1
    assert "--port" in process.output


def test_another_host_needs_authentication(start: Start) -> None:
    process = start("--host", "0.0.0.0")
    assert process.wait() == 2
    assert "ERRANDER_AUTH=required" in process.output
    assert not (process.data / "postgres").exists()


def test_external_servers_need_their_addresses(start: Start) -> None:
    process = start("--external")
    assert process.wait() == 2
    assert "--external needs DATABASE_URL" in process.output


def test_external_servers_are_used_and_none_are_started(start: Start) -> None:
    process = start("--external", DATABASE_URL="postgres://db/x", REDIS_URL="redis://r/0").ready()
    assert sorted(process.parts()) == ["api", "worker-1"]
    assert process.env_file()["DATABASE_URL"] == "postgres://db/x"


def test_addresses_of_the_environment_are_ignored_otherwise(start: Start) -> None:
    process = start(DATABASE_URL="postgres://db/x", REDIS_URL_FILE="/no/such/file").ready()
    assert "127.0.0.1" in process.env_file()["DATABASE_URL"]
    assert "REDIS_URL_FILE" not in process.parts()["api"].environ()


def test_parts_that_die_are_started_again(start: Start) -> None:
    process = start().ready()
    before = process.parts()
    for name in ("api", "worker-1", "valkey", "postgres"):
        before[name].kill()
        eventually_sync(partial(process.is_another, name, before[name]))
        process.wait_for(f"{name} was ended by SIGKILL")
    with redis.Redis.from_url(process.env_file()["REDIS_URL"]) as client:
        eventually_sync(lambda: answers(client))
    assert process.stop() == 0


def test_after_kill_9_the_next_start_works_and_keeps_the_data(start: Start) -> None:
    port = free_port()
    process = start(port=port).ready()
    with redis.Redis.from_url(process.env_file()["REDIS_URL"]) as client:
        client.set("kept", "yes")
        client.bgrewriteaof()
    left = process.parts()
    process.kill()
    again = start(port=port).ready()
    assert running(left) == []
    with redis.Redis.from_url(again.env_file()["REDIS_URL"]) as client:
        assert client.get("kept") == b"yes"
    assert again.stop() == 0


def test_fresh_forgets_the_data_and_only_the_data(start: Start) -> None:
    process = start().ready()
    secret = (process.data / "postgres" / "password").read_text()
    (process.data / "mine.txt").write_text("not a part of it")
    assert process.stop() == 0
    again = start("--fresh").ready()
    assert (again.data / "postgres" / "password").read_text() != secret
    assert (again.data / "mine.txt").exists()


def test_a_failed_migration_ends_it_with_what_was_said(start: Start) -> None:
    process = start(STAND_IN_MIGRATE="fails")
    assert process.wait() == 1
    assert "the schema is from the future" in process.output
    assert "errander: migrate ended with exit code 1" in process.output
    assert running(process.parts()) == []


def test_a_signal_while_starting_stops_cleanly(start: Start) -> None:
    process = start()
    process.wait_for("starting PostgreSQL")
    assert process.stop(signal.SIGINT) == 0
    assert process.parts() == {}


def test_saved_tasks_are_taken_over_and_broken_ones_are_not(start: Start, server_folder: Path) -> None:
    module = server_folder / "mytasks.py"
    module.write_text("VERSION = 1\n")
    process = start("--tasks", "mytasks").ready()
    process.wait_for("worker-1  | tasks 1")
    module.write_text("VERSION = \n")
    process.wait_for("the workers go on with the code they have")
    assert "SyntaxError" in process.output
    first = process.parts()["worker-1"].pid
    module.write_text("VERSION = 3\n")
    process.wait_for("worker-1  | tasks 3")
    eventually_sync(lambda: not psutil.pid_exists(first))
    assert process.stop() == 0


def test_tasks_that_cannot_be_loaded_end_it(start: Start) -> None:
    process = start("--tasks", "nosuch")
    assert process.wait() == 1
    assert "No module named 'nosuch'" in process.output
    assert "errander: the tasks cannot be loaded" in process.output


def test_a_users_own_packages_do_not_shadow_the_servers(start: Start, server_folder: Path) -> None:
    for name in ("service", "workers", "db"):
        (server_folder / name).mkdir()
        (server_folder / name / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    process = start().ready()
    assert f"service of {service.__file__}" in process.output


def test_without_workers_only_the_api_is_waited_for(start: Start) -> None:
    process = start("--workers", "0").ready()
    assert sorted(process.parts()) == ["api", "postgres", "valkey"]
    assert "?wait=10" not in process.output


def test_each_part_has_a_log_file(start: Start) -> None:
    process = start().ready()
    logs = {path.name for path in (process.data / "logs").iterdir()}
    assert {"api.log", "worker-1.log", "postgres.log", "valkey.log", "announce.log"} <= logs
    assert "started api" in (process.data / "logs" / "api.log").read_text()


@pytest.mark.parametrize("words", [("--port", "x"), ("--port", "70000"), ("--workers", "-1")])
def test_numbers_are_checked(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    dev.register(parser.add_subparsers())
    with pytest.raises(SystemExit) as refused:
        parser.parse_args(["dev", *words])
    assert refused.value.code == 2
    assert words[0] in capsys.readouterr().err


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
