"""The slots of one process, and the claimed jobs that wait for one.

A slot is free when its job's code has ended. Jobs that take less time than a claim would leave the slots empty for as
long as the next claim takes, so a process that ends many jobs a second claims some ahead: no more than it ends in
`_AHEAD_SECONDS`, which is none at all where jobs take long. What is claimed ahead waits in line, its code not started
and its timeout not running, and goes back free if no slot comes soon.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence

from workers.attempt import Attempt
from workers.flush import Flush

_AHEAD_SECONDS = 0.02  # some times what a claim takes
_MOST_AHEAD = 400
_WORTH_WHILE = 16  # below this a claim ahead costs more than it saves
_PATIENCE_SECONDS = 0.25  # in line: by then a job is better off elsewhere
_WINDOW_SECONDS = 0.02  # over which the pace is measured


class Pace:
    """How many jobs end in a second, over the last short while."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._count = 0
        self._per_second = 0.0

    def note(self) -> None:
        """One has ended."""
        self._count += 1

    def per_second(self) -> float:
        """As measured over the last whole window."""
        now = time.monotonic()
        passed = now - self._since
        if passed >= _WINDOW_SECONDS:
            self._per_second = self._count / passed
            self._since, self._count = now, 0
        return self._per_second


class Room:
    """Owned by one process, on its job loop."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: set[Attempt] = set()
        """Attempts in a slot, whose code has not ended."""
        self.changed = asyncio.Event()
        """Set whenever a slot or an unconfirmed outcome has gone."""
        self.started = 0
        """Attempts that were ever given a slot."""
        self._line: deque[tuple[float, Attempt]] = deque()
        self._pace = Pace()

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs or waits for a slot."""
        return not self.running and not self._line

    def free(self, flush: Flush) -> int:
        """How many jobs may be claimed now."""
        ahead = int(min(_MOST_AHEAD, self._pace.per_second() * _AHEAD_SECONDS))
        if ahead < _WORTH_WHILE:
            ahead = 0
        if flush.failing or flush.unconfirmed >= self.slots + ahead:
            return 0
        free = self.slots + ahead - len(self.running) - len(self._line)
        # Few large claims cost less than many small ones; a line that is half full feeds the slots meanwhile.
        return free if free > ahead // 2 else 0

    def admit(self, attempts: Iterable[Attempt]) -> None:
        """Starts as many as there are slots; the rest stands in line."""
        now = time.monotonic()
        for attempt in attempts:
            if len(self.running) < self.slots and not self._line:
                self._start(attempt)
            else:
                self._line.append((now, attempt))

    def ended(self, attempt: Attempt) -> None:
        """Its code has ended, or will not start: whoever is next in line starts."""
        if attempt in self.running:
            self.running.discard(attempt)
            self._pace.note()
        while self._line and len(self.running) < self.slots:
            self._start(self._line.popleft()[1])
        self.changed.set()

    def leave_line(self, *, patient: bool = False) -> Sequence[Attempt]:
        """Takes everybody out of the line, or only those (`patient`) who have stood there for too long."""
        latest = time.monotonic() - _PATIENCE_SECONDS if patient else float("inf")
        gone = []
        while self._line and self._line[0][0] <= latest:
            gone.append(self._line.popleft()[1])
        return gone

    async def wait(self, seconds: float) -> None:
        """Waits for a change, at most `seconds`."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)

    def _start(self, attempt: Attempt) -> None:
        self.running.add(attempt)
        self.started += 1
        attempt.start()
