"""The pruner: deletes what has been kept for long enough, in bounded batches.

A turn deletes until nothing is left or its time is up; then it is due again at once, so that a backlog of any size is
caught up with, while the leader's other loops and everybody's claims go on in between. Jobs are walked in the order in which
they were made, each turn from where the one before came to; once a day from the beginning, for those that ended long
after they were made.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from db import failpoints, retention
from db.engine import Link
from db.lifecycle import JobStatus
from workers.loops.base import Loop

INTERVAL = 60.0
SWEEP_SECONDS = 86_400.0
_BATCH = 1000
_BUDGET = 2.0  # seconds of one turn, well below the leader's term
_PAUSE_SHARE = 0.5  # after each batch a pause of half the time it took: the disk is not the pruner's alone
_WORKER_SECONDS = 3600.0  # how long a dead worker's row is kept to be looked at
_DAY = 86_400.0

Batch = Callable[[], Awaitable[tuple[int, bool]]]
"""Deletes up to a batch: how many, and whether more may be left."""


class Pruner(Loop):
    """Days a status and the audit log are kept, 0 for ever; hours an idempotency key is held after its job is final."""

    name = "pruner"

    def __init__(
        self,
        link: Link,
        *,
        days: Mapping[JobStatus, float],
        idempotency_hours: float,
        audit_days: float = 0.0,
        budget: float = _BUDGET,
    ) -> None:
        super().__init__(INTERVAL)
        self._link = link
        self._seconds = {status: kept * _DAY for status, kept in days.items() if kept > 0}
        self._idempotency_seconds = idempotency_hours * 3600
        self._audit_seconds = audit_days * _DAY
        self._budget = budget
        self._after: dict[JobStatus, UUID] = {}
        self._sweep_at = 0.0
        self._turn = 0

    async def run_once(self) -> int:
        """Deletes for as long as a turn may take, each kind in its share of it. Returns how many rows."""
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            self._after.clear()
        kinds: list[Batch] = [self._jobs(status, seconds) for status, seconds in self._seconds.items()]
        kinds += [self._keys, self._workers, *([self._audit] if self._audit_seconds > 0 else [])]
        # Another kind begins each turn, so that a backlog of one does not keep the others waiting.
        self._turn += 1
        first = self._turn % len(kinds)
        total, left = 0, False
        ends = time.monotonic() + self._budget
        for number, kind in enumerate(kinds[first:] + kinds[:first]):
            share = (ends - time.monotonic()) / (len(kinds) - number)
            deleted, more = await _until(kind, time.monotonic() + share)
            total += deleted
            left = left or more
        if left:
            self.hurry()
        return total

    def _jobs(self, status: JobStatus, seconds: float) -> Batch:
        async def batch() -> tuple[int, bool]:
            await failpoints.reach("pruner.pruning")
            after = self._after.get(status, retention.FIRST)
            pruned = await retention.prune_jobs(self._link, status, after, seconds=seconds, n=_BATCH)
            self._after[status] = pruned.reached
            return pruned.deleted, not pruned.at_end

        return batch

    async def _keys(self) -> tuple[int, bool]:
        looked_at = await retention.prune_keys(self._link, seconds=self._idempotency_seconds, n=_BATCH)
        return looked_at, looked_at >= _BATCH

    async def _workers(self) -> tuple[int, bool]:
        deleted = await retention.prune_workers(self._link, seconds=_WORKER_SECONDS, n=_BATCH)
        return deleted, deleted >= _BATCH

    async def _audit(self) -> tuple[int, bool]:
        deleted = await retention.prune_audit(self._link, seconds=self._audit_seconds, n=_BATCH)
        return deleted, deleted >= _BATCH


async def _until(batch: Batch, ends: float) -> tuple[int, bool]:
    """Batches until nothing is left or the time is up, at least one: rows, and whether more may be left."""
    total = 0
    while True:
        began = time.monotonic()
        deleted, more = await batch()
        now = time.monotonic()
        total += deleted
        if not more or now >= ends:
            return total, more
        await asyncio.sleep(_PAUSE_SHARE * (now - began))
