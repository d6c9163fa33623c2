"""Python's collector around a start: off while a process loads, on when it serves."""

import subprocess
import sys

_START = """
import gc
from workers import garbage

garbage.pause()
assert not gc.isenabled()
garbage.settle()
assert gc.isenabled()
assert gc.get_freeze_count() > 1000
assert gc.get_threshold()[0] > 700
"""


def test_what_pauses_for_a_start_collects_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
