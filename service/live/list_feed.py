"""Lists of jobs that are followed: one look for changes serves every filter and every client.

Twice a second at most, while anybody follows, one query brings the jobs of the followed tenants that may have changed since
the last look; then one query a filter says which of those fit it, and one more reads their states, which are written once for
all clients. Where more has changed than a client is sent, it is told to list again; what other tenants do is no reason.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog

from db import changes
from db.changes import Changes, Known, Mark, Marks
from db.engine import Database, Link
from db.errors import BadRow, DatabaseError
from db.filters import JobFilter
from db.reading import Reader, TooSlow
from service.live.outbox import MOST, ListOutbox
from service.live.told import Told, told

_log = structlog.get_logger("errander.live")

LOOK_SECONDS: Final = 0.5
"""Between two looks."""
COST_FACTOR: Final = 3.0
"""A look that takes long is followed by a pause that is longer by this: a quarter of one connection at most."""
AWAY_SECONDS: Final = 1.0
"""Between two looks while PostgreSQL is away."""
HELD: Final = 5_000
"""Jobs of a filter that are remembered as fitting, so that it is told when one no longer does."""

Key = tuple[str, JobFilter]


class Group:
    """The clients of one tenant that follow the same filter."""

    def __init__(self, tenant: str, wanted: JobFilter) -> None:
        self.tenant = tenant
        self.wanted = wanted
        self.outboxes: set[ListOutbox] = set()
        self._held: OrderedDict[UUID, str | None] = OrderedDict()

    def holds(self, job_id: UUID) -> bool:
        """Whether clients know the job as one that fits."""
        return job_id in self._held

    def hold(self, ids: Sequence[UUID]) -> None:
        """One client was told of these jobs as it began; what the others were told of them stays as it is."""
        for job_id in ids:
            self._held.setdefault(job_id, None)
        self._trim()

    def news(self, states: Sequence[Told], fitting: set[UUID]) -> list[Told]:
        """Those states that clients do not know yet; a job that no longer fits is told once more, and forgotten."""
        found = [state for state in states if self._held.get(state.id) != state.digest]
        for state in states:
            self._held.pop(state.id, None)
            if state.id in fitting:
                self._held[state.id] = state.digest
        self._trim()
        return found

    def _trim(self) -> None:
        while len(self._held) > HELD:
            self._held.popitem(last=False)

    def lose(self, mark: Mark) -> None:
        """Too much has changed to be told, so it is not known what clients know."""
        self._held = OrderedDict.fromkeys(self._held)
        for outbox in self.outboxes:
            outbox.lose(mark)


class ListFeed:
    """Owned by a process; `start` and `stop` frame its task."""

    def __init__(self, database: Database) -> None:
        self._link: Link = database.link
        self._reader = Reader(database)
        self._groups: dict[Key, Group] = {}
        self._somebody = asyncio.Event()
        self._marking = asyncio.Lock()
        self._marks = Marks()
        self._mark: Mark | None = None
        self._seen: Mapping[str, Mapping[UUID, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts looking, as soon as somebody follows."""
        self._task = asyncio.create_task(self._run(), name="errander.live.lists")

    async def stop(self) -> None:
        """Ends the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def follow(self, tenant: str, wanted: JobFilter) -> AsyncIterator[tuple[ListOutbox, Group]]:
        """An outbox that is told of every change from its mark on. Raises the errors of `db.errors`."""
        key = (tenant, wanted)
        outbox = ListOutbox(await self._begin())
        group = self._groups.setdefault(key, Group(tenant, wanted))
        group.outboxes.add(outbox)
        self._somebody.set()
        try:
            yield outbox, group
        finally:
            group.outboxes.discard(outbox)
            if not group.outboxes:
                self._groups.pop(key, None)
            if not self._groups:
                self._somebody.clear()
                self._mark = None

    async def _begin(self) -> Mark:
        """Where the feed is; where it was idle, it begins now."""
        async with self._marking:
            if self._mark is None:
                at, top = await changes.mark(self._link)
                self._marks, self._seen = Marks(), {}
                self._mark = self._marks.next(at, top)
            return self._mark

    async def _run(self) -> None:
        while True:
            await self._somebody.wait()
            began = time.monotonic()
            pause = LOOK_SECONDS
            try:
                await self._look()
            except DatabaseError as error:
                _log.warning("live.database_away", error=str(error))
                pause = AWAY_SECONDS
            except Exception:  # a fault of ours over one filter must not end the streams of all others
                _log.exception("live.failed")
                pause = AWAY_SECONDS
            took = time.monotonic() - began
            await asyncio.sleep(max(pause - took, COST_FACTOR * took))

    async def _look(self) -> None:
        """Tells everybody what changed since the last look. What fails is done again by the next: the mark stays."""
        mark = self._mark
        if mark is None:
            return
        groups = list(self._groups.values())
        found = await changes.since(self._link, mark, {group.tenant for group in groups})
        following = self._marks.next(found.at, found.top)
        await self._tell(groups, found, following)
        if self._mark is mark:  # else everybody has left meanwhile
            self._mark = following
            self._seen = found.jobs

    async def _tell(self, groups: Sequence[Group], found: Changes, mark: Mark) -> None:
        concerned: list[tuple[Group, set[UUID], list[UUID]]] = []
        for group in groups:
            seen = self._seen.get(group.tenant, {})
            changed = [one for one, version in found.of(group.tenant).items() if seen.get(one) != version]
            fits = None if found.is_cut(group.tenant) else await self._fitting(group, changed)
            ids = [] if fits is None else [one for one in changed if one in fits or group.holds(one)]
            if fits is None or len(ids) > MOST:
                group.lose(mark)
            else:
                concerned.append((group, fits, sorted(ids)))
        states = await self._states([(group.tenant, ids) for group, _, ids in concerned])
        for group, fits, ids in concerned:
            news = group.news([states[key] for one in ids if (key := (group.tenant, one)) in states], fits)
            for outbox in group.outboxes:
                outbox.put(news, mark)

    async def _fitting(self, group: Group, changed: Sequence[UUID]) -> set[UUID] | None:
        """Which of them fit; None where this filter alone cannot be answered."""
        if not changed:
            return set()
        try:
            return await changes.fitting(self._reader, group.tenant, group.wanted, changed)
        except (TooSlow, BadRow) as error:
            _log.warning("live.filter_not_answered", error=str(error))
            return None

    async def _states(self, wanted: Sequence[tuple[str, Sequence[UUID]]]) -> dict[tuple[str, UUID], Told]:
        known = {(tenant, one) for tenant, ids in wanted for one in ids}
        return await read_states(self._link, sorted(known))


async def read_states(link: Link, keys: Sequence[tuple[str, UUID]]) -> dict[tuple[str, UUID], Told]:
    """The states of jobs by tenant and id, without those that are not there."""
    found = {}
    for start in range(0, len(keys), MOST):
        part = [Known(tenant, job_id) for tenant, job_id in keys[start : start + MOST]]
        for state in await changes.states(link, part):
            if state.record is not None:
                found[state.tenant, state.id] = told(state, state.record)
    return found
