"""What really ran, written down outside both stores: an append-only file, one line a thing that task code did.

Tasks write it, checkers read it. Nothing that PostgreSQL or Redis says goes into it, so it can contradict them.
Imports the standard library only, because every child process that runs a job imports it.
"""

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

LEDGER_VARIABLE: Final = "ERRANDER_CHAOS_LEDGER"
"""The environment variable with the file's path."""

_IMAGE: Final = uuid.uuid4().hex[:12]
"""This process image: a process that starts again in place keeps its pid and gets another one of these."""


class What(StrEnum):
    """What a line says."""

    START = "start"
    """Its code has begun; the note is `run_at` as the attempt was told it, in seconds since 1970."""
    TICK = "tick"
    """Its code still runs."""
    END = "end"
    """Its code has ended; the note is `ok` or the name of the exception."""
    DIE = "die"
    """Its code ends its own process next."""
    BOOT = "boot"
    """A process image has begun to be one; about no job."""


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is CLOCK_MONOTONIC, `wall` the time of day; `parent` the process that started the one with `pid`."""

    what: What
    job: str
    attempt: int
    pid: int
    parent: int
    image: str
    at: float
    wall: float
    note: str = ""


@dataclass(slots=True)
class Run:
    """One attempt as its code saw it. `end` is None where its code never got there."""

    start: Line
    end: Line | None = None
    last: Line = field(init=False)
    """Its last sign of life."""

    def __post_init__(self) -> None:
        self.last = self.start

    @property
    def attempt(self) -> int:
        """Its number."""
        return self.start.attempt

    def add(self, line: Line) -> None:
        """Takes a later line of the same attempt."""
        self.last = line
        if line.what in (What.END, What.DIE):
            self.end = line


def image() -> str:
    """The name of this process image."""
    return _IMAGE


def write(what: What, job: str = "-", attempt: int = 0, note: str = "") -> None:
    """Appends one line; a single write to a file opened for appending is never torn by another's."""
    path = os.environ.get(LEDGER_VARIABLE)
    if path is None:
        return
    line = f"{what} {job} {attempt} {os.getpid()} {os.getppid()} {_IMAGE} {time.monotonic()!r} {time.time()!r} {note}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Line]:
    """Every line, in the order of the file; none where there is no file yet."""
    if not path.exists():
        return []
    found = []
    # of a line that crosses a page of the file a reader may see only the beginning
    for text in path.read_text(encoding="utf-8").split("\n")[:-1]:
        what, job, attempt, pid, parent, name, at, wall, note = text.split(" ", 8)
        found.append(Line(What(what), job, int(attempt), int(pid), int(parent), name, float(at), float(wall), note))
    return found


def runs(lines: Iterable[Line]) -> dict[str, list[Run]]:
    """Job → its runs in the order they started, two under one number apart. Pure.

    A line that no start went before begins a run of its own, so that a checker sees it.
    """
    found: dict[str, list[Run]] = defaultdict(list)
    for line in lines:
        if line.what is What.BOOT:
            continue
        mine = [run for run in found[line.job] if (run.attempt, run.start.image) == (line.attempt, line.image)]
        if line.what is What.START or not mine:
            found[line.job].append(Run(line))
        else:
            mine[-1].add(line)
    return {job: sorted(each, key=lambda run: run.start.at) for job, each in found.items()}
