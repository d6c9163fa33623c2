"""Everything live of one process: opens streams for the routes, and ends them all when the process does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from db import changes, lists
from db.changes import Known, Mark
from db.engine import Database
from db.filters import JobFilter
from db.reading import Reader
from service.auth.principal import Principal
from service.http.problems import not_found
from service.live.door import Door
from service.live.job_feed import JobFeed
from service.live.lines import is_over, job_lines, list_lines, mark_of
from service.live.list_feed import ListFeed, read_states
from service.live.outbox import MOST
from service.live.stream import Opened
from service.live.told import Told, told
from service.waiting import Waiting

HEARTBEAT_SECONDS: Final = 15.0
"""Between two comments on a stream that has nothing to tell: below the idle limits of common proxies (30 s and more)."""
LONGEST_SECONDS: Final = 900.0
"""After so long a stream ends, and its client comes again: whoever's key was revoked meanwhile is then refused."""
RESUMED: Final = timedelta(minutes=5)
"""How long ago a client may have left to be told only what it missed."""
FIRST: Final = 50
"""Jobs that a list begins with."""


class Live:
    """Owned by the application; `start` and `stop` frame the tasks of its feeds."""

    def __init__(
        self, database: Database, waiting: Waiting, *, door: Door | None = None, heartbeat: float = HEARTBEAT_SECONDS
    ) -> None:
        self._database = database
        self._door = door or Door()
        self._heartbeat = heartbeat
        self._over = asyncio.Event()
        self.jobs = JobFeed(database.link, waiting)
        self.lists = ListFeed(database)
        waiting.release_too(self.release)

    def start(self) -> None:
        """Lets the feeds look, as soon as somebody listens."""
        self.jobs.start()
        self.lists.start()

    def release(self) -> None:
        """Ends all streams, and refuses new ones: the process is about to end."""
        self._door.shut = True
        self._over.set()
        self.jobs.release()
        self.lists.release()

    async def stop(self) -> None:
        """Ends streams and feeds."""
        self.release()
        await self.jobs.stop()
        await self.lists.stop()

    @contextlib.asynccontextmanager
    async def follow_job(self, principal: Principal, job_id: UUID, last_id: str | None) -> AsyncIterator[Opened]:
        """A stream of one job. Raises Problem, and the errors of `db.errors`."""
        with self._door.enter(principal), self.jobs.watch(principal.tenant, job_id) as outbox:
            (state,) = await changes.states(self._database.link, [Known(principal.tenant, job_id)])
            if state.record is None:
                raise not_found(f"job {job_id}")
            now = told(state, state.record)
            if is_over(last_id, now):
                yield Opened(None)
                return
            outbox.begin(now)
            lines = job_lines(outbox, last_id, self._heartbeat)
            yield Opened(lines, seconds=_seconds(principal), over=self._over)

    @contextlib.asynccontextmanager
    async def follow_jobs(self, principal: Principal, wanted: JobFilter, last_id: str | None) -> AsyncIterator[Opened]:
        """A stream of the jobs that fit. Raises Problem, and the errors of `db.errors`."""
        with self._door.enter(principal):
            async with self.lists.follow(principal.tenant, wanted) as (outbox, group):
                begin = outbox.mark
                missed = None if last_id is None else await self._missed(principal.tenant, wanted, last_id, begin)
                opening = await self._newest(principal.tenant, wanted) if missed is None else missed
                outbox.begin(opening)
                group.hold([state.id for state in opening])
                reset = last_id is not None and missed is None
                lines = list_lines(outbox, opening, begin, reset=reset, heartbeat=self._heartbeat)
                yield Opened(lines, seconds=_seconds(principal), over=self._over)

    async def _newest(self, tenant: str, wanted: JobFilter) -> Sequence[Told]:
        """The newest jobs that fit, oldest of them first."""
        page = await lists.newest(Reader(self._database), tenant, wanted, limit=FIRST, include=frozenset())
        return await self._states(tenant, [job.id for job in reversed(page.jobs)])

    async def _missed(self, tenant: str, wanted: JobFilter, last_id: str, now: Mark) -> Sequence[Told] | None:
        """What has changed since the event `last_id`; None where that is not known any more, or too much."""
        left = mark_of(last_id)
        if left is None or now.at - left.at > RESUMED:
            return None
        found = await changes.since(self._database.link, left)
        # The place may be later than this process has looked; not later than now, and not of another history.
        if found.cut or left.at > found.at or left.history > found.top:
            return None
        fits = await changes.fitting(
            Reader(self._database), tenant, changes.whatever_stands(wanted), sorted(found.jobs)
        )
        return None if len(fits) > MOST else await self._states(tenant, sorted(fits))

    async def _states(self, tenant: str, ids: Sequence[UUID]) -> list[Told]:
        states = await read_states(self._database.link, [(tenant, job_id) for job_id in ids])
        return [states[tenant, job_id] for job_id in ids if (tenant, job_id) in states]


def _seconds(principal: Principal) -> float:
    """How long a stream may last: no longer than its credential."""
    left = LONGEST_SECONDS if principal.expires_at is None else principal.expires_at - time.time()
    return max(0.0, min(LONGEST_SECONDS, left))
