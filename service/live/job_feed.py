"""Single jobs that are watched: one look at PostgreSQL serves everybody who watches them.

Four times a second, while anybody watches, one query over all watched ids brings those that are no longer as they were.
News from Redis that a job has ended makes it be looked at at once, and nothing else depends on them.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog

from db import changes
from db.changes import Known
from db.engine import Link
from db.errors import DatabaseError
from service.live.outbox import JobOutbox
from service.live.told import told
from service.waiting import Waiting

_log = structlog.get_logger("errander.live")

LOOK_SECONDS: Final = 0.25
"""Between two looks: what changes more often, such as progress, is told four times a second."""
COST_FACTOR: Final = 3.0
"""A look that takes long is followed by a pause that is longer by this: a quarter of one connection at most."""
AWAY_SECONDS: Final = 1.0
"""Between two looks while PostgreSQL is away."""

Key = tuple[str, UUID]


@dataclass(slots=True)
class _Watched:
    version: str = ""
    outboxes: set[JobOutbox] = field(default_factory=set)


class JobFeed:
    """Owned by a process; `start` and `stop` frame its task."""

    def __init__(self, link: Link, waiting: Waiting) -> None:
        self._link = link
        self._waiting = waiting
        self._watched: dict[Key, _Watched] = {}
        self._somebody = asyncio.Event()
        self._hurried: set[UUID] = set()
        self._hurry = asyncio.Event()
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts looking, as soon as somebody watches."""
        self._task = asyncio.create_task(self._run(), name="errander.live.jobs")

    async def stop(self) -> None:
        """Ends the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.contextmanager
    def watch(self, tenant: str, job_id: UUID) -> Iterator[JobOutbox]:
        """An outbox that is told of every change from now on. Read the job inside: no change is then missed."""
        key, outbox = (tenant, job_id), JobOutbox()
        if not (watched := self._watched.get(key)):
            watched = self._watched[key] = _Watched()
            self._waiting.listen(job_id, self._heard)
        watched.outboxes.add(outbox)
        self._somebody.set()
        try:
            yield outbox
        finally:
            watched.outboxes.discard(outbox)
            if not watched.outboxes:
                del self._watched[key]
                if not any(job_id == other for _, other in self._watched):
                    self._waiting.unlisten(job_id, self._heard)
            if not self._watched:
                self._somebody.clear()

    def _heard(self, job_id: UUID) -> None:
        self._hurried.add(job_id)
        self._hurry.set()

    async def _run(self) -> None:
        while True:
            await self._somebody.wait()
            only = await self._turn()
            began = time.monotonic()
            try:
                await self._look(only)
            except DatabaseError as error:
                _log.warning("live.database_away", error=str(error))
                await asyncio.sleep(AWAY_SECONDS)
            except Exception:  # a fault of ours over one job must not end the streams of all others
                _log.exception("live.failed")
                await asyncio.sleep(AWAY_SECONDS)
            if only is None:
                now = time.monotonic()
                self._due = now + max(LOOK_SECONDS - (now - began), COST_FACTOR * (now - began))

    async def _turn(self) -> set[UUID] | None:
        """Waits for the next look. None: over all; else over these, because there is news of them."""
        left = self._due - time.monotonic()
        try:
            async with asyncio.timeout(left):
                if left > 0:
                    await self._hurry.wait()
        except TimeoutError:
            left = 0.0
        self._hurry.clear()
        hurried, self._hurried = self._hurried, set()
        return hurried if left > 0 else None

    async def _look(self, only: set[UUID] | None) -> None:
        known = [
            Known(tenant, job_id, watched.version)
            for (tenant, job_id), watched in self._watched.items()
            if only is None or job_id in only
        ]
        if not known:
            return
        for state in await changes.states(self._link, known):
            watched = self._watched.get((state.tenant, state.id))
            if watched is None:
                continue
            watched.version = state.version
            if state.record is None:
                for outbox in watched.outboxes:
                    outbox.lose()
                continue
            news = told(state, state.record)
            for outbox in watched.outboxes:
                outbox.put(news)
