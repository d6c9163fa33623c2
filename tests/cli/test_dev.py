"""`errander dev` as a user starts it: the installed command, the real API and the real workers."""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from service.supervise import free_port
from tests.fixtures.dev import ERRANDER, DevProcess
from tests.fixtures.servers import open_folder
from tests.fixtures.waiting import eventually_sync

TASKS = """
from errander import task

@task("mine.version")
async def version() -> int:
    return {version}
"""

Start = Callable[..., DevProcess]


@pytest.fixture
def start(server_folder: Path) -> Iterator[Start]:
    started: list[DevProcess] = []

    def make(*options: str, port: int | None = None) -> DevProcess:
        started.append(DevProcess(server_folder, "--port", str(port or free_port()), *options))
        return started[-1]

    yield make
    for process in started:
        with process:
            pass


@pytest.fixture(scope="module")
def server() -> Iterator[DevProcess]:
    """One for all tests that leave it as it is; Ctrl-C ends it."""
    with open_folder(in_memory=True) as folder, DevProcess(folder, "--port", str(free_port())) as process:
        yield process.ready()
        assert process.stop(signal.SIGINT) == 0


def post(url: str, body: object) -> dict[str, object]:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def run(process: DevProcess, task: str, payload: dict[str, object]) -> dict[str, object]:
    return post(f"{process.url}/v1/jobs?wait=20", {"task": task, "payload": payload})


def test_once_ready_requests_and_jobs_are_served(server: DevProcess) -> None:
    job = run(server, "demo.echo", {"hello": "world"})
    assert (job["status"], job["result"]) == ("SUCCESS", {"hello": "world"})


def test_the_parts_are_told_apart_by_their_command_lines(server: DevProcess) -> None:
    parts = server.parts()
    lines = {name: " ".join(part.cmdline()) for name, part in parts.items()}
    assert "errander api --host 127.0.0.1 --port" in lines["api"]
    assert lines["worker-1"].endswith("errander worker")
    assert "postgres -D" in lines["postgres"]
    assert "valkey-server" in lines["valkey"]
    assert all(os.getsid(part.pid) == part.pid for part in parts.values())


def test_jobs_outlive_kill_9_of_everything(start: Start) -> None:
    port = free_port()
    process = start("--workers", "0", port=port).ready()
    job = post(f"{process.url}/v1/jobs", {"task": "demo.echo", "payload": {"n": 1}})
    parts = process.parts()
    process.kill()
    for part in parts.values():
        try:
            part.kill()
        except psutil.NoSuchProcess:
            continue
    again = start(port=port).ready()
    with urllib.request.urlopen(f"{again.url}/v1/jobs/{job['id']}?wait=20", timeout=30) as answer:
        assert json.load(answer)["status"] == "SUCCESS"


def test_a_killed_worker_and_a_killed_api_come_back(start: Start) -> None:
    process = start().ready()
    for name in ("worker-1", "api"):
        before = process.parts()[name]
        before.kill()
        eventually_sync(partial(process.is_another, name, before))
    eventually_sync(lambda: is_up(process.url), timeout=30)
    assert run(process, "demo.echo", {})["status"] == "SUCCESS"


def test_a_saved_task_module_is_what_runs_next(start: Start, server_folder: Path) -> None:
    module = server_folder / "mytasks.py"
    module.write_text(TASKS.format(version=1))
    process = start("--tasks", "mytasks").ready()
    assert run(process, "mine.version", {})["result"] == 1
    module.write_text("this is no Python")
    process.wait_for("the workers go on with the code they have")
    assert run(process, "mine.version", {})["result"] == 1
    module.write_text(TASKS.format(version=2))
    process.wait_for("new workers take over")
    eventually_sync(lambda: run(process, "mine.version", {})["result"] == 2, timeout=60)


def test_a_worker_of_another_shell_is_like_its_own(start: Start, server_folder: Path) -> None:
    (server_folder / "mytasks.py").write_text(TASKS.format(version=1))
    process = start("--workers", "0", "--tasks", "mytasks").ready()
    env = {**os.environ, **process.env_file(), "ERRANDER_METRICS_PORT": "0", "PYTHONPATH": str(server_folder)}
    with subprocess.Popen([ERRANDER, "worker"], env=env, cwd=server_folder, start_new_session=True) as worker:
        try:
            assert run(process, "mine.version", {})["result"] == 1
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0


def test_a_second_one_in_the_same_folder_exits_1(server: DevProcess) -> None:
    with DevProcess(server.folder, "--port", str(free_port())) as second:
        assert second.wait() == 1
    assert "already runs in" in second.output


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
