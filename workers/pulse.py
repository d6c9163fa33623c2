"""The job loop's pulse, and who may be holding it up: read by the watchdog on the control thread."""

import asyncio
import time
from collections.abc import Iterable

from workers.attempt import Attempt

NO_DEADLINE_SECONDS = 60.0
"""How long the job loop may stand still while no code that has begun has a deadline."""


class Pulse:
    """`beat` on the job loop, the rest from the control thread."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None

    def beat(self) -> None:
        """The job loop is alive."""
        self._last = time.monotonic()
        self._loop = self._loop or asyncio.get_running_loop()

    def silent_for(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    def stuck(self, attempts: Iterable[Attempt], grace: float) -> bool:
        """Whether the loop has stood still for longer than the shortest time left, and the grace, allow."""
        deadlines = [attempt.deadline for attempt in attempts if attempt.begun_at is not None]
        silent = self.silent_for()
        if not deadlines:
            return silent > NO_DEADLINE_SECONDS
        return silent > grace and time.monotonic() > min(deadlines) + grace

    def culprits(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Whose code the loop is executing; where that cannot be told, all that are past their time."""
        candidates = list(attempts)
        running = None if self._loop is None else asyncio.current_task(self._loop)
        guilty = [attempt for attempt in candidates if running is not None and attempt.is_task(running)]
        return guilty or [attempt for attempt in candidates if time.monotonic() > attempt.deadline]
