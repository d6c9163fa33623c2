"""The watchdog: ends the process from the control thread where its job loop cannot.

Because code holds up the loop for longer than any job may take, because a signal asked the process to leave and the
loop does not hear it, or because the lease is lost and the loop has not ended the process in its grace.
"""

import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from db.engine import Link
from workers import ending
from workers.attempt import Attempt
from workers.keeping import Kept
from workers.orders import Orders, Shared
from workers.settings import WorkerSettings

_log = structlog.get_logger("errander.control")

LOST_GRACE_SECONDS = 5.0
"""How long code may take to end once the lease is lost."""
_LOOK_SECONDS = 0.25
_DRAIN_GRACE_SECONDS = 2.0
"""How much longer than its drain a job loop that stands still may take before the process ends without it."""


class Watchdog(Kept):
    """Looks at the pulse of the job loop. `resign` gives up leadership on the way out."""

    name = "watch"

    def __init__(
        self,
        link: Link,
        worker: UUID,
        shared: Shared,
        orders: Orders,
        *,
        settings: WorkerSettings,
        resign: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(_LOOK_SECONDS)
        self._link = link
        self._worker = worker
        self._shared = shared
        self._orders = orders
        self._settings = settings
        self._resign = resign
        self._lost_at: float | None = None

    async def run_once(self) -> bool:
        """One look; it may be the process's last act. Never asks PostgreSQL anything else."""
        now = time.monotonic()
        pulse = self._shared.pulse
        if self._shared.lease.lost:
            self._lost_at = self._lost_at or now
            if now - self._lost_at > LOST_GRACE_SECONDS * 2:
                self._leave()  # the job loop had its grace, and as long again
        held = [entry.attempt for entry in self._shared.held.snapshot().values()]
        if pulse.stuck(held, self._settings.stuck):
            await self._end_alone(pulse.culprits(held))
        told_at = self._orders.told_at()
        overdue = told_at is not None and now > told_at + self._settings.drain + _DRAIN_GRACE_SECONDS
        if overdue and pulse.silent_for() > _DRAIN_GRACE_SECONDS:
            await self._end_alone([])  # the code that blocks it is within its time: it goes back too
        return False

    async def _end_alone(self, culprits: list[Attempt]) -> None:
        _log.error(
            "worker.loop_blocked",
            seconds=round(self._shared.pulse.silent_for(), 1),
            culprits=[str(attempt.id) for attempt in culprits],
        )
        self._orders.kill_children()
        try:
            await ending.last_act(self._link, self._worker, self._shared.held, culprits, self._resign)
        except Exception:  # whatever it is: a process whose loop stands still must end
            _log.exception("ending.broken")
        self._leave()

    def _leave(self) -> None:
        self._orders.kill_children()
        ending.leave(again=self._orders.told_at() is None, supervised=self._settings.supervised)
