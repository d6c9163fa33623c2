"""The reaper: takes jobs away from dead workers, and ends waiting jobs that have expired."""

from collections.abc import Callable

import structlog

from db import failpoints, workers
from db.attempts import Moved
from db.engine import Link
from db.workers import Beat
from workers.hints import Hint
from workers.loops.base import Loop
from workers.publisher import Publisher

_log = structlog.get_logger("errander.reaper")

_BATCH = 1000  # rows a statement: far below the statement timeout


class Reaper(Loop):
    """Acts on the silence that its process has observed."""

    name = "reaper"

    def __init__(
        self, link: Link, publisher: Publisher | None, silent: Callable[[], list[Beat]], *, interval: float
    ) -> None:
        super().__init__(interval)
        self._link = link
        self._publisher = publisher
        self._silent = silent

    async def run_once(self) -> int:
        """Rescues and expires until nothing is left."""
        return await self._rescue() + await self._expire()

    async def _rescue(self) -> int:
        total = 0
        silent = self._silent()
        for beat in silent:
            _log.warning("worker.silent", worker=str(beat.worker), beat_age=round(beat.age, 1))
        while True:
            await failpoints.reach("reaper.rescuing")
            rescued = await workers.rescue(self._link, silent, n=_BATCH)
            await failpoints.reach("reaper.rescued")
            silent = []
            for job in rescued:
                _log.warning(
                    "job.rescued",
                    job_id=str(job.moved.id),
                    attempt=job.attempt,
                    worker=str(job.worker),
                    status=str(job.moved.status),
                )
            self._publish([job.moved for job in rescued])
            total += len(rescued)
            if len(rescued) < _BATCH:
                return total

    async def _expire(self) -> int:
        total = 0
        while True:
            await failpoints.reach("reaper.expiring")
            expired = await workers.expire(self._link, n=_BATCH)
            self._publish(expired)
            total += len(expired)
            if len(expired) < _BATCH:
                return total

    def _publish(self, moved: list[Moved]) -> None:
        if self._publisher is not None:
            self._publisher.offer([Hint(m.id, m.pool, m.priority, m.due_in) for m in moved if m.due_in is not None])
            self._publisher.offer_final([m.id for m in moved if m.due_in is None])
