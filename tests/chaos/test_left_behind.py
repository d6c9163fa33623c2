"""What a run finds and ends of what its processes have started, in whatever process group that is."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from service.chaos import ledger
from service.chaos.evidence import Life
from service.chaos.fleet import Fleet
from service.chaos.ledger import LEDGER_VARIABLE
from service.chaos.workload import POOLS
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


def test_what_a_member_that_has_ended_leaves_behind_is_ended_with_a_run_that_is_broken_off(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 1, tmp_path / "ledger", armed=False)
    fleet.add_worker({}, POOLS[0])
    (member,) = fleet.members
    child = [sys.executable, "-c", "import signal; signal.pause()", "workers.child"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.Popen({child})"], start_new_session=True
    )
    member.process = cast("Any", process)
    member.lives.append(Life(member.who, 0, process.pid, tmp_path / "log", 0.0))
    try:
        process.wait()
        assert len(_group(process.pid)) == 1
        asyncio.run(fleet.kill())
        assert (member.life, member.lives[0].code) == (None, 0)
        eventually_sync(lambda: _group(process.pid) == [])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _group(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
