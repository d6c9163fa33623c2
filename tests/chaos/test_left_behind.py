"""What a run finds and ends of what its processes have started, in whatever process group that is."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.chaos import ledger
from service.chaos.fleet import Fleet
from service.chaos.ledger import LEDGER_VARIABLE
from tests.fixtures.waiting import eventually_sync

_CHILD = """
import os, signal, sys
from service.chaos import ledger
ledger.write(ledger.What.START, "job-1", 1)
os.fork()
signal.pause()
"""


def test_a_process_that_a_child_with_a_group_of_its_own_leaves_behind_is_found_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEDGER_VARIABLE, str(tmp_path / "ledger"))
    fleet = Fleet(tmp_path, 1, tmp_path / "ledger", armed=False)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, "workers.child"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    )
    try:
        eventually_sync(lambda: len(_group(child.pid)) == 2)
        child.kill()
        child.wait()
        (left,) = fleet.end_left_behind()
        assert "workers.child" in left
        eventually_sync(lambda: _group(child.pid) == [])
        assert fleet.end_left_behind() == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert [line.pid for line in ledger.read(tmp_path / "ledger")] == [child.pid]


def _group(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
