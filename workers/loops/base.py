"""What the leader's loops share: one bounded step at a time, each at its own interval.

Tests call `run_once()`; the leader calls `tick()` often and each loop decides whether its time has come.
"""

import random
import time
from abc import ABC, abstractmethod


class Loop(ABC):
    """One role of the leader."""

    name: str
    """Its name in the log."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        """Seconds between two steps; each wait is drawn from the upper tenth below it."""
        self._due = 0.0

    @abstractmethod
    async def run_once(self) -> int:
        """One step: bounded batches until nothing is left. Returns how much it changed."""

    def due(self) -> bool:
        """Whether its time has come."""
        return time.monotonic() >= self._due

    async def tick(self) -> int:
        """`run_once` if its time has come."""
        if not self.due():
            return 0
        self._due = time.monotonic() + self.interval * random.uniform(0.9, 1.0)
        return await self.run_once()

    def hurry(self) -> None:
        """Makes it due now: a new leader acts at once."""
        self._due = 0.0
