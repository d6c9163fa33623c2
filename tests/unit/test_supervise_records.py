import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGKILL

import pytest

from service.supervise.identity import alive, command_line, started
from service.supervise.records import end_leftovers, write_record

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(SLEEPER, start_new_session=True)
    # Its parent may go on before the kernel has filled in the command line.
    deadline = time.monotonic() + 10
    while command_line(process.pid) is None and time.monotonic() < deadline:
        time.sleep(0.001)
    return process


def end(process: "subprocess.Popen[bytes]") -> int:
    process.kill()
    return process.wait()


def test_a_process_is_known_by_its_start_and_its_command_line(sleeper: "subprocess.Popen[bytes]") -> None:
    assert started(sleeper.pid) == started(sleeper.pid) is not None
    assert (command_line(sleeper.pid) or "").endswith("time.sleep(60)")
    end(sleeper)
    assert started(sleeper.pid) is None
    assert not alive(sleeper.pid)


def test_a_zombie_is_not_alive(sleeper: "subprocess.Popen[bytes]") -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(sleeper.pid)
    sleeper.wait()


def test_a_recorded_process_that_still_runs_is_ended(sleeper: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    write_record(tmp_path, "worker-1", sleeper.pid, SLEEPER)
    assert end_leftovers(tmp_path) == ["worker-1"]
    assert sleeper.wait(5) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ignores_the_goodbye_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervise.records._GOODBYE_SECONDS", 0.1)
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    argv = (sys.executable, "-c", script)
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_record(tmp_path, "api", process.pid, argv)
        end_leftovers(tmp_path)
        assert process.wait(5) == -SIGKILL


@pytest.mark.parametrize("lie", ["started", "argv"])
def test_a_process_id_that_went_to_somebody_else_is_left_alone(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path, lie: str
) -> None:
    record = write_record(tmp_path, "api", sleeper.pid, ("errander", "api") if lie == "argv" else SLEEPER)
    assert record is not None
    if lie == "started":
        token = started(sleeper.pid) or ""
        record.write_text(record.read_text().replace(token, token + "1"))
    assert end_leftovers(tmp_path) == []
    assert alive(sleeper.pid)
    assert list(tmp_path.iterdir()) == []
    end(sleeper)


def test_a_half_written_record_is_removed(tmp_path: Path) -> None:
    (tmp_path / "api.17.pid").write_text('{"pid": 1')
    assert end_leftovers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
