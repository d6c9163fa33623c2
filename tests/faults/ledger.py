"""What really ran, as the fault tests read and check it; `service/chaos/ledger.py` says what is written and how.

Nothing that PostgreSQL or Redis says is taken into account, so it can contradict them.
"""

import itertools
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from service.chaos.ledger import Line, Run, What, read, runs


class Ledger:
    """The reading side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.killed: dict[int, float] = {}
        """pid → when a test ended it, by CLOCK_MONOTONIC."""

    def lines(self) -> list[Line]:
        """Every line written so far."""
        return read(self.path)

    def starts(self, job: object = None) -> list[Line]:
        """Starts, of one job or of all."""
        return self._of(What.START, job)

    def ends(self, job: object = None) -> list[Line]:
        """Ends, of one job or of all."""
        return self._of(What.END, job)

    def running(self) -> set[str]:
        """Jobs whose last start has no end yet."""
        return {job for job, each in self.runs().items() if each[-1].end is None}

    def runs(self) -> dict[str, list[Run]]:
        """Job → its runs in the order they started."""
        found = runs(self.lines())
        for job, each in found.items():
            for run in each:
                assert run.start.what is What.START, f"job {job} attempt {run.attempt} ended and never started"
        return found

    def _of(self, what: What, job: object) -> list[Line]:
        return [line for line in self.lines() if line.what is what and job in (None, line.job, _uuid(line.job))]

    # -- checkers ----------------------------------------------------------------------------------------------------

    def check(self, *, silence: float) -> None:
        """Every attempt started once, attempts grew, and none ran on top of the one before it.

        `silence`: seconds after a start at which its worker may at the earliest have been silent for a whole lease.
        """
        gone = self._gone()
        for job, each in self.runs().items():
            numbers = [run.attempt for run in each]
            assert len(set(numbers)) == len(numbers), f"job {job} started an attempt twice: {numbers}"
            assert numbers == sorted(numbers), f"job {job} went back to an earlier attempt: {numbers}"
            for before, after in itertools.pairwise(each):
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
                if line.what is What.BOOT and pid == line.pid and image != line.image:
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
