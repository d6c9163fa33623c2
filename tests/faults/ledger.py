"""What really ran, written down outside both stores: an append-only file, one line a start, an end or a process.

Test tasks write it, checkers read it. Nothing that PostgreSQL or Redis says is taken into account, so it can
contradict them.
"""

import itertools
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEDGER_VARIABLE: Final = "FAULT_LEDGER"
"""The environment variable with the file's path."""

_IMAGE: Final = uuid.uuid4().hex[:12]
"""This process image: a process that starts again in place keeps its pid and gets another one of these."""


@dataclass(frozen=True, slots=True)
class Line:
    """`what` is boot, start or end; `at` is CLOCK_MONOTONIC, `wall` the time of day; job and attempt of a boot are 0."""

    what: str
    job: str
    attempt: int
    pid: int
    image: str
    at: float
    wall: float


@dataclass(slots=True)
class Run:
    """One attempt as its code saw it; `end` None where the code never got to its end."""

    attempt: int
    start: Line
    end: Line | None = None


def write(what: str, job: str = "-", attempt: int = 0) -> None:
    """Append one line; a single write to a file opened for appending is never torn by another's."""
    path = os.environ.get(LEDGER_VARIABLE)
    if path is None:
        return
    line = f"{what} {job} {attempt} {os.getpid()} {_IMAGE} {time.monotonic()!r} {time.time()!r}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Ledger:
    """The reading side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.killed: dict[int, float] = {}
        """pid → when a test ended it, by CLOCK_MONOTONIC."""

    def lines(self) -> list[Line]:
        """Every line written so far; of one that crosses a page of the file a reader may see only the beginning."""
        if not self.path.exists():
            return []
        found = []
        for text in self.path.read_text().split("\n")[:-1]:
            what, job, attempt, pid, image, at, wall = text.split()
            found.append(Line(what, job, int(attempt), int(pid), image, float(at), float(wall)))
        return found

    def starts(self, job: object = None) -> list[Line]:
        """Starts, of one job or of all."""
        return [line for line in self.lines() if line.what == "start" and job in (None, line.job, _uuid(line.job))]

    def ends(self, job: object = None) -> list[Line]:
        """Ends, of one job or of all."""
        return [line for line in self.lines() if line.what == "end" and job in (None, line.job, _uuid(line.job))]

    def running(self) -> set[str]:
        """Jobs whose last start has no end yet."""
        return {job for job, runs in self.runs().items() if runs[-1].end is None}

    def runs(self) -> dict[str, list[Run]]:
        """Job → its runs in the order they started."""
        runs: dict[str, list[Run]] = defaultdict(list)
        for line in self.lines():
            if line.what == "start":
                runs[line.job].append(Run(line.attempt, line))
            elif line.what == "end":
                mine = [run for run in runs[line.job] if run.attempt == line.attempt]
                assert mine, f"job {line.job} attempt {line.attempt} ended and never started"
                mine[-1].end = line
        return dict(runs)

    # -- checkers ----------------------------------------------------------------------------------------------------

    def check(self, *, silence: float) -> None:
        """Every attempt started once, attempts grew, and none ran on top of the one before it.

        `silence`: seconds after a start at which its worker may at the earliest have been silent for a whole lease.
        """
        gone = self._gone()
        for job, runs in self.runs().items():
            numbers = [run.attempt for run in runs]
            assert len(set(numbers)) == len(numbers), f"job {job} started an attempt twice: {numbers}"
            assert numbers == sorted(numbers), f"job {job} went back to an earlier attempt: {numbers}"
            for before, after in itertools.pairwise(runs):
                over = min(
                    before.end.at if before.end is not None else float("inf"),
                    gone.get(before.start.image, float("inf")),
                )
                silent = after.start.at - before.start.at >= silence
                assert over <= after.start.at or silent, (
                    f"job {job}: attempt {after.attempt} began {over - after.start.at:.3f} s before attempt "
                    f"{before.attempt} was over, and its worker had not been silent"
                )

    def started_once(self) -> None:
        """No job started twice."""
        twice = {job: n for job, n in Counter(line.job for line in self.starts()).items() if n > 1}
        assert not twice, f"jobs that started more than once: {twice}"

    def _gone(self) -> dict[str, float]:
        """Image → when it was over at the latest: it was ended, or its process had become another image."""
        gone: dict[str, float] = {}
        images: Mapping[str, int] = {line.image: line.pid for line in self.lines()}
        for line in self.lines():
            for image, pid in images.items():
                if line.what == "boot" and pid == line.pid and image != line.image:
                    earlier = any(other.image == image and other.at < line.at for other in self.lines())
                    if earlier:
                        gone[image] = min(gone.get(image, float("inf")), line.at)
        for image, pid in images.items():
            if pid in self.killed:
                gone[image] = min(gone.get(image, float("inf")), self.killed[pid])
        return gone


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
