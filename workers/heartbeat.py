"""The heartbeat: a worker's row, and the beats that say that its process lives."""

import asyncio
import contextlib
import threading
import time

import structlog

from db import failpoints, workers
from db.engine import Link
from db.workers import WorkerRow
from workers.keeping import Kept
from workers.orders import Orders, Shared

_log = structlog.get_logger("errander.control")

_RETRY_SECONDS = 0.5  # from a beat that was not answered to the next
_APART_SECONDS = 1.0  # between two beats, however often somebody asks for one


class Heartbeat(Kept):
    """Joins, then beats. `ready` is set with the first beat that was answered."""

    name = "beat"

    def __init__(
        self, link: Link, row: WorkerRow, shared: Shared, orders: Orders, ready: threading.Event, *, seconds: float
    ) -> None:
        super().__init__(seconds)
        self._link = link
        self._row = row
        self._shared = shared
        self._orders = orders
        self._ready = ready
        self._has_joined = False
        self._sent = float("-inf")
        self._next_at = 0.0
        self._asked = asyncio.Event()
        self.answered = asyncio.Event()
        """As `ready`, for those who wait on the control thread."""

    async def run_once(self) -> bool:
        """One beat; before the first one the row. Always asks."""
        self._sent = time.monotonic()
        self._next_at = self._sent + _RETRY_SECONDS
        self._asked.clear()
        if not self._has_joined:
            await workers.join(self._link, self._row)
            self._has_joined = True
        await self._beat()
        self._next_at = self._sent + self.pause
        return True

    async def rest(self) -> None:
        """Waits for the next beat's time, or until somebody needs one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_at - time.monotonic())):
                await self._asked.wait()
        await asyncio.sleep(min(self._sent + _APART_SECONDS, self._next_at) - time.monotonic())

    def hurry(self) -> None:
        """Makes the next beat due now, or soon if the last one has just been sent."""
        self._asked.set()

    async def _beat(self) -> None:
        sent = time.monotonic()
        await failpoints.reach("beat.sending")
        drain = await workers.beat(self._link, self._row.id, running=len(self._shared.held), slots=self._row.slots)
        await failpoints.reach("beat.answered")
        lease = self._shared.lease
        if drain is None:
            if not lease.lost and not lease.left:
                _log.error("worker.lease_lost", worker=str(self._row.id))
                lease.lost = True
                self._orders.lost()
            return
        lease.renewed(sent)
        self._ready.set()
        self.answered.set()
        if drain:
            self._orders.drain()
