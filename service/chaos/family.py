"""Stopping and waking processes together with everything they have started."""

import contextlib
import os
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from signal import SIGCONT, SIGSTOP, Signals

_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and theirs, parents first."""
    children = defaultdict(list)
    for child, parent, _ in _all():
        children[parent].append(child)
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children[parent]]
        found += level
    return found


def freeze(pids: Iterable[int], *, whole: bool = True) -> list[int]:
    """Stops each process, and with `whole` its descendants; the ids of all that were stopped."""
    stopped: list[int] = []
    for pid in pids:
        _send(pid, SIGSTOP)  # first: it would start new children
        stopped.append(pid)
        if whole:
            for child in descendants(pid):
                _send(child, SIGSTOP)
                stopped.append(child)
    return stopped


def thaw(pids: Iterable[int]) -> None:
    """Lets processes go on; one that is gone or runs is left alone."""
    for pid in pids:
        _send(pid, SIGCONT)


def _send(pid: int, number: Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def in_groups(groups: Collection[int]) -> list[int]:
    """The processes of these process groups."""
    return [pid for pid, _, group in _all() if group in groups]


def _all() -> Iterable[tuple[int, int, int]]:
    """(process, parent, process group) of every process of the machine."""
    if not (_PROC / "self/stat").exists():
        done = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid="],  # noqa: S607 - `ps` is where the platform put it
            capture_output=True,
            text=True,
            check=False,
        )
        return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in done.stdout.splitlines())]
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # proc(5): the second field is a name in parentheses that may hold anything; then state, parent, group
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                found.append((int(folder.name), int(fields[1]), int(fields[2])))
    return found
