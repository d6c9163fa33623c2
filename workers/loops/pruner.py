"""The pruner: deletes what has been kept for long enough, in bounded batches."""

from collections.abc import Mapping

from db import retention
from db.engine import Link
from db.lifecycle import JobStatus
from workers.loops.base import Loop

INTERVAL = 60.0
_BATCH = 1000
_BATCHES = 20  # a step: what is left waits for the next, so that the leader's other loops get their turn
_WORKER_SECONDS = 3600.0  # how long a dead worker's row is kept to be looked at
_DAY = 86_400.0


class Pruner(Loop):
    """Days a status is kept, 0 for ever; hours an idempotency key is held after its job is final."""

    name = "pruner"

    def __init__(self, link: Link, *, days: Mapping[JobStatus, float], idempotency_hours: float) -> None:
        super().__init__(INTERVAL)
        self._link = link
        self._days = {status: kept for status, kept in days.items() if kept > 0}
        self._idempotency_seconds = idempotency_hours * 3600

    async def run_once(self) -> int:
        """Deletes up to 20,000 rows of each kind."""
        total = 0
        for status, days in self._days.items():
            for _ in range(_BATCHES):
                deleted = await retention.prune_jobs(self._link, status, seconds=days * _DAY, n=_BATCH)
                total += deleted
                if deleted < _BATCH:
                    break
        for _ in range(_BATCHES):
            if await retention.prune_keys(self._link, seconds=self._idempotency_seconds, n=_BATCH) < _BATCH:
                break
        return total + await retention.prune_workers(self._link, seconds=_WORKER_SECONDS, n=_BATCH)
