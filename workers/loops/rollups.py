"""The rollup loop: counts what ended, so that nobody else ever has to.

`db.rollups` says how each end is counted once. This loop decides how far one step goes: as far as is done in a fraction
of a second, because what it is behind may be a few seconds or, on a database that was never counted, a year.
"""

import time

import structlog

from db import rollups
from db.engine import Database
from db.errors import DatabaseError, Locked
from workers.loops.base import Loop

_log = structlog.get_logger("errander.rollups")

INTERVAL = 3.0  # what ended since is read by whoever looks, so it should stay little
_BUDGET = 1.5  # seconds of one turn, so that the leader's other loops get theirs and its term is renewed
_QUICK, _SLOW = 0.1, 0.4  # seconds of a step: below, the next may go further; above, it must not go as far
_SHORTEST, _LONGEST = 1.0, 86_400.0
_MERGE_EVERY = 60.0
_BATCH = 2_000
_COUNT_EVERY, _COUNT_FACTOR = 10.0, 50.0  # queues are counted every 10 s, and for at most a fiftieth of the time


class Rollups(Loop):
    """Folds ends into rollups and totals, makes old rollups coarser, and counts deep queues."""

    name = "rollups"

    def __init__(self, database: Database, *, margin: float = rollups.MARGIN) -> None:
        super().__init__(INTERVAL)
        self._database = database
        self._margin = margin
        self._step = 60.0
        self._merge_at = 0.0
        self._count_at = 0.0
        self._unsummarized = False

    async def run_once(self) -> int:
        """Counts until the mark stands at the margin, or its time is up; then it is due again at once."""
        ends = time.monotonic() + _BUDGET
        total = 0
        await self._summarize()
        while True:
            began = time.monotonic()
            folded = await self._fold()
            now = time.monotonic()
            if folded is None:
                break
            total += folded.finished
            self._step = next_step(self._step, now - began)
            if folded.behind <= 0:
                break
            if now >= ends:
                self.hurry()
                return total
        await self._merge(ends)
        await self._count_queues()
        return total

    async def _summarize(self) -> None:
        try:
            await rollups.summarize(self._database)
        except Locked:  # it is being vacuumed, which does the same
            return
        except DatabaseError as error:  # dearer without it, and not wrong
            if not self._unsummarized:
                self._unsummarized = True
                _log.warning("rollups.not_summarized", error=str(error))

    async def _fold(self) -> rollups.Folded | None:
        try:
            return await rollups.fold(self._database, step=self._step, margin=self._margin)
        except DatabaseError:
            self._step = max(_SHORTEST, self._step / 4)  # it may have been too much for the statement timeout
            raise

    async def _merge(self, ends: float) -> None:
        if time.monotonic() < self._merge_at:
            return
        while await rollups.merge(self._database, n=_BATCH) >= _BATCH:
            if time.monotonic() >= ends:
                return
        self._merge_at = time.monotonic() + _MERGE_EVERY

    async def _count_queues(self) -> None:
        began = time.monotonic()
        if began < self._count_at:
            return
        self._count_at = began + _COUNT_EVERY
        try:
            await rollups.count_queues(self._database.link)
        except DatabaseError as error:  # a convenience for those who look must not hold up the loops after this one
            _log.warning("rollups.queues_not_counted", error=str(error))
        now = time.monotonic()
        self._count_at = now + max(_COUNT_EVERY, _COUNT_FACTOR * (now - began))


def next_step(step: float, took: float) -> float:
    """Seconds of time that the next step covers, after one over `step` seconds took `took` seconds. Pure."""
    if took < _QUICK:
        return min(_LONGEST, step * 2)
    if took > _SLOW:
        return max(_SHORTEST, step / 2)
    return step
