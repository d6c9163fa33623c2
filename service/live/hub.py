"""Everything live of one process: opens streams for the routes, and ends them all when the process does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from db import changes, lists
from db.changes import Known, Mark
from db.engine import Database
from db.filters import JobFilter
from db.reading import Reader
from service.auth.principal import Principal
from service.http.problems import not_found
from service.limits.door import Door
from service.live.job_feed import JobFeed
from service.live.lines import is_over, job_lines, list_lines, mark_of
from service.live.list_feed import ListFeed, read_states
from service.live.outbox import MOST, Outbox
from service.live.stream import Opened
from service.live.told import Told, told
from service.waiting import Waiting

_log = structlog.get_logger("errander.live")

StillGood = Callable[[Principal], Awaitable[bool]]
"""Whether a credential has neither ended nor been revoked."""

HEARTBEAT_SECONDS: Final = 15.0
"""Between two comments on a stream that has nothing to tell: below the idle limits of common proxies (30 s and more)."""
LONGEST_SECONDS: Final = 900.0
"""After so long a stream ends, and its client comes again, perhaps to another process."""
CHECK_SECONDS: Final = 1.0
"""How often it is asked whether the credentials of the streams are still good; one that is not ends its streams."""
STREAMS: Final = 1_000
"""Streams of one process."""
STREAMS_OF_ONE: Final = 20
"""Streams of one credential in one process."""
RESUMED: Final = timedelta(minutes=5)
"""How long ago a client may have left to be told only what it missed."""
RESUMES: Final = 2
"""Clients at the same time that are told what they missed: all come again when a server starts anew, and must leave
connections to PostgreSQL for requests."""
FIRST: Final = 50
"""Jobs that a list begins with."""


class Live:
    """Owned by the application; `start` and `stop` frame the tasks of its feeds."""

    def __init__(
        self,
        database: Database,
        waiting: Waiting,
        still_good: StillGood,
        *,
        door: Door | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._database = database
        self._still_good = still_good
        self._door = door or Door("streams", most=STREAMS, most_of_one=STREAMS_OF_ONE)
        self._heartbeat = heartbeat
        self._open: dict[Principal, set[Outbox]] = {}
        self._checking: asyncio.Task[None] | None = None
        self._resuming = asyncio.Semaphore(RESUMES)
        self.jobs = JobFeed(database.link, waiting)
        self.lists = ListFeed(database)
        waiting.release_too(self.release)

    def start(self) -> None:
        """Lets the feeds look, as soon as somebody listens."""
        self.jobs.start()
        self.lists.start()
        self._checking = asyncio.create_task(self._check_for_ever(), name="errander.live.check")

    def release(self) -> None:
        """Ends all streams, and refuses new ones: the process is about to end."""
        self._door.shut = True
        for principal in self._open:
            self._end(principal)

    async def stop(self) -> None:
        """Ends streams and feeds."""
        self.release()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self.jobs.stop()
        await self.lists.stop()

    @contextlib.asynccontextmanager
    async def follow_job(self, principal: Principal, job_id: UUID, last_id: str | None) -> AsyncIterator[Opened]:
        """A stream of one job. Raises Problem, and the errors of `db.errors`."""
        with (
            self._door.enter(principal),
            self.jobs.watch(principal.tenant, job_id) as outbox,
            self._kept(principal, outbox),
        ):
            (state,) = await changes.states(self._database.link, [Known(principal.tenant, job_id)])
            if state.record is None:
                raise not_found(f"job {job_id}")
            now = told(state, state.record)
            if is_over(last_id, now):
                yield Opened(None)
                return
            outbox.begin(now)
            lines = job_lines(outbox, last_id, self._heartbeat)
            yield Opened(lines, seconds=_seconds(principal), over=outbox.over)

    @contextlib.asynccontextmanager
    async def follow_jobs(self, principal: Principal, wanted: JobFilter, last_id: str | None) -> AsyncIterator[Opened]:
        """A stream of the jobs that fit. Raises Problem, and the errors of `db.errors`."""
        with self._door.enter(principal):
            async with self.lists.follow(principal.tenant, wanted) as (outbox, group):
                with self._kept(principal, outbox):
                    begin = outbox.mark
                    missed = None if last_id is None else await self._missed(principal.tenant, wanted, last_id, begin)
                    opening = await self._newest(principal.tenant, wanted) if missed is None else missed
                    outbox.begin(opening)
                    group.hold([state.id for state in opening])
                    reset = last_id is not None and missed is None
                    lines = list_lines(outbox, opening, begin, reset=reset, heartbeat=self._heartbeat)
                    yield Opened(lines, seconds=_seconds(principal), over=outbox.over)

    @contextlib.contextmanager
    def _kept(self, principal: Principal, outbox: Outbox) -> Iterator[None]:
        """Lets the stream be ended before its time."""
        self._open.setdefault(principal, set()).add(outbox)
        if self._door.shut:  # since this client was let in
            outbox.close()
        try:
            yield
        finally:
            self._open[principal].discard(outbox)
            if not self._open[principal]:
                del self._open[principal]

    def _end(self, principal: Principal) -> None:
        for outbox in self._open.get(principal, ()):
            outbox.close()

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for principal in list(self._open):
                try:
                    if not await self._still_good(principal):
                        self._end(principal)
                except Exception:  # a fault of ours over one credential must not let all others last for ever
                    _log.exception("live.not_checked", principal=principal.name)

    async def _newest(self, tenant: str, wanted: JobFilter) -> Sequence[Told]:
        """The newest jobs that fit, oldest of them first."""
        page = await lists.newest(Reader(self._database), tenant, wanted, limit=FIRST, include=frozenset())
        return await self._states(tenant, [job.id for job in reversed(page.jobs)])

    async def _missed(self, tenant: str, wanted: JobFilter, last_id: str, now: Mark) -> Sequence[Told] | None:
        """What has changed since the event `last_id`; None where that is not known any more, or too much."""
        left = mark_of(last_id)
        if left is None or now.at - left.at > RESUMED:
            return None
        async with self._resuming:
            return await self._changed(tenant, wanted, left)

    async def _changed(self, tenant: str, wanted: JobFilter, left: Mark) -> Sequence[Told] | None:
        found = await changes.since(self._database.link, left, [tenant])
        # The place may be later than this process has looked; not later than now, and not of another history.
        if found.is_cut(tenant) or left.at > found.at or left.history > found.top:
            return None
        fits = await changes.fitting(
            Reader(self._database), tenant, changes.whatever_stands(wanted), sorted(found.of(tenant))
        )
        return None if len(fits) > MOST else await self._states(tenant, sorted(fits))

    async def _states(self, tenant: str, ids: Sequence[UUID]) -> list[Told]:
        states = await read_states(self._database.link, [(tenant, job_id) for job_id in ids])
        return [states[tenant, job_id] for job_id in ids if (tenant, job_id) in states]


def _seconds(principal: Principal) -> float:
    """How long a stream may last: no longer than its credential."""
    left = LONGEST_SECONDS if principal.ends_at is None else principal.ends_at - time.time()
    return max(0.0, min(LONGEST_SECONDS, left))
