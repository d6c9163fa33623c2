"""The horizon loop: publishes the earliest jobs that fall due soon, so that workers wake for them on time.

Level-triggered: it publishes what should be there, whether or not it is, and at most a window a queue.
"""

from db import attempts, failpoints
from db.engine import Link
from workers.hints import Hint
from workers.loops.base import Loop
from workers.publisher import Publisher

INTERVAL = 5.0


class Horizon(Loop):
    """Reads PostgreSQL, writes Redis."""

    name = "horizon"

    def __init__(self, link: Link, publisher: Publisher, *, window: int, horizon: float) -> None:
        super().__init__(INTERVAL)
        self._link = link
        self._publisher = publisher
        self._window = window
        self._horizon = horizon

    async def run_once(self) -> int:
        """One look ahead."""
        if not self._publisher.healthy:
            return 0
        rows = await attempts.horizon(self._link, seconds=self._horizon, n=self._window)
        await failpoints.reach("horizon.publishing")
        self._publisher.offer([Hint(row["id"], row["pool"], row["priority"], row["due_in"]) for row in rows])
        return len(rows)
