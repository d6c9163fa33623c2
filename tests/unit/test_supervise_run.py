"""`run_parts` as a command uses it: in the foreground of a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import service

COMMAND = """
import sys
from service.supervise import Output, Part, run_parts
gentle = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause()"
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
script = {"gentle": gentle, "deaf": deaf, "fine": "", "refuses": "raise SystemExit(2)"}[sys.argv[1]]
part = Part(name="p", argv=(sys.executable, "-c", script), grace=30, exit_refused=2)
sys.exit(run_parts([part], on_ready=lambda: print("ready", flush=True)))
"""


@contextmanager
def command(kind: str) -> Iterator["subprocess.Popen[str]"]:
    env = {**os.environ, "PYTHONPATH": str(Path(service.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        yield process


def wait_for(process: "subprocess.Popen[str]", *words: str) -> None:
    missing = set(words)
    assert process.stdout is not None
    while missing and (line := process.stdout.readline()):
        missing.discard(line.strip())
    assert not missing


def test_a_signal_stops_the_parts_and_is_a_success() -> None:
    with command("gentle") as process:
        wait_for(process, "ready", "up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_second_signal_does_not_wait() -> None:
    with command("deaf") as process:
        wait_for(process, "ready", "up")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_part_that_refuses_to_start_ends_the_command_with_its_code() -> None:
    with command("refuses") as process:
        assert process.wait(10) == 2
        assert process.stdout is not None
        assert process.stdout.read().splitlines()[-1] == "errander: p refused to start: it ended with exit code 2"


def test_parts_that_finish_end_the_command() -> None:
    with command("fine") as process:
        assert process.wait(10) == 0
