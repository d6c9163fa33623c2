"""`errander chaos` as a command: its schedule, its refusals, and how it ends when somebody breaks it off."""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.chaos import workload
from service.cli import chaos
from tests.fixtures.waiting import eventually_sync

ERRANDER = str(Path(sys.executable).with_name("errander"))

pytestmark = pytest.mark.timeout(400)


def run(*words: str) -> int:
    """The command, in this process."""
    parser = argparse.ArgumentParser()
    chaos.register(parser.add_subparsers())
    args = parser.parse_args(["chaos", *words])
    code: int = args.func(args)
    return code


def test_the_plan_is_printed_and_nothing_is_started(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--plan", "--seed", "7", "--minutes", "1", "--folder", str(tmp_path / "new")) == 0
    first = capsys.readouterr().out
    assert first.startswith("seed 7, 1 minutes\n")
    assert first.count("\n") > 10
    assert not (tmp_path / "new").exists()
    run("--plan", "--seed", "7", "--minutes", "1")
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    "words", [("--minutes", "0"), ("--workers", "1"), ("--rate", "-1"), ("--faults", "flood"), ("--folder", "/")]
)
def test_what_cannot_be_is_refused_in_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_broken_off_leaves_nothing(number: signal.Signals, server_folder: Path) -> None:
    folder, said = server_folder / "run", server_folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [ERRANDER, "chaos", "--seed", "1", "--folder", str(folder), "--workers", "2"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: "requests and" in said.read_text(), 200, message=said.read_text)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 5
        process.send_signal(number)
        assert process.wait(90) == 2, said.read_text()
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert not folder.exists()
    assert "it was broken off" in said.read_text()


@pytest.mark.faults
def test_a_run_that_is_killed_takes_its_processes_along(server_folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has died")
    folder, said = server_folder / "run", server_folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [ERRANDER, "chaos", "--seed", "1", "--folder", str(folder), "--workers", "2", "--faults", "none"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: "requests and" in said.read_text(), 200, message=said.read_text)
        started = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


@pytest.mark.faults
def test_it_reads_no_address_of_another_deployment(monkeypatch: pytest.MonkeyPatch, server_folder: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ERRANDER_DB_SCHEMA", "elsewhere")
    # a seed whose few jobs are quick and due at once, so that nothing is waited for afterwards
    few = ("--seed", "2886", "--rate", "2", "--minutes", "0.1", "--workers", "2", "--faults", "none")
    jobs = [job for step in workload.steps(2886, 6.0, 2.0) for job in getattr(step.does, "bodies", ())]
    assert 10 < len(jobs) < 20
    assert {job["task"] for job in jobs} <= {"chaos.quick", "chaos.sleep", "chaos.thread", "chaos.process"}
    assert not any("delay" in job or job["payload"].get("seconds", 0.0) > 2.0 for job in jobs), "choose another seed"
    done = subprocess.run(
        [ERRANDER, "chaos", *few, "--keep", "-o", "json"],
        cwd=server_folder,
        env={**os.environ, "TMPDIR": str(server_folder)},
        capture_output=True,
        text=True,
        timeout=350,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"]["accepted"] > 0
    (folder,) = server_folder.glob("errander-chaos-*")
    assert (folder / "ledger").exists()
