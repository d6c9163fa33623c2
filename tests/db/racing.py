"""Two connections at once, in a stated order.

A statement sees the database as it was when it began; what it locks, it reads anew. What happens between the two is
where races live. A gate stops a statement exactly there: its text is given one more condition, an advisory lock that
the test holds.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from db.engine import Link
from tests.db.scene import Scene
from tests.db.texts import Texts
from tests.fixtures.waiting import eventually

T = TypeVar("T")

_KEY = 4711
_CONDITION = f"(SELECT pg_advisory_xact_lock_shared({_KEY})) IS NOT NULL"

# Where each statement has read nothing but its snapshot yet: before the rows that it locks.
_PLACES = {
    "claim_by_id": ("    FOR NO KEY UPDATE OF", " AND "),
    "claim_by_head": ("    LIMIT CAST(:n AS int)\n),\n", " AND "),
    "rescue": ("    ORDER BY j.id\n    LIMIT CAST(:n AS int)", " AND "),
    "expire": ("    ORDER BY j.id\n", " AND "),
    "prune_jobs": ("    ORDER BY j.id\n", " AND "),
}
_FINISH = ("    ORDER BY j.id\n", " AND ")


class Gate:
    """Closed from `start` until `open`; one statement at a time."""

    def __init__(self, scene: Scene, texts: Texts) -> None:
        self._scene = scene
        self._texts = texts
        self._held: asyncio.Task[None] | None = None
        self._open = asyncio.Event()
        self._work: asyncio.Task[Any] | None = None

    async def start(self, name: str, work: Coroutine[Any, Any, T], *, condition: str = _CONDITION) -> asyncio.Task[T]:
        """Starts `work`, which runs statement `name`, and returns when that has its snapshot and waits."""
        place, word = _PLACES.get(name, _FINISH)
        try:
            self._texts.replace(name, place, f"{word}{condition}\n{place}")
        except BaseException:
            work.close()
            raise
        closed = asyncio.Event()
        self._held = asyncio.create_task(self._hold(closed))
        await closed.wait()
        task = asyncio.create_task(work)
        self._work = task
        await eventually(lambda: self._somebody_waits(task))
        return task

    async def _hold(self, closed: asyncio.Event) -> None:
        async with self._scene.database.begin() as link:
            await link.executor.execute(f"SELECT pg_advisory_xact_lock({_KEY})")
            closed.set()
            await self._open.wait()

    async def _somebody_waits(self, task: asyncio.Task[Any]) -> bool:
        assert not task.done(), f"it ended before the gate: {task}"
        rows = await self._scene.ask(
            "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted"
        )
        return bool(rows)

    def open(self) -> None:
        """Lets the statement go on."""
        self._open.set()

    async def close(self) -> None:
        """Ends what is left of a test that failed half-way."""
        self.open()
        await asyncio.gather(*(task for task in (self._held, self._work) if task is not None), return_exceptions=True)


AFTER_DEAD = f"(SELECT pg_advisory_xact_lock_shared({_KEY}) FROM (SELECT count(*) FROM dead) marked) IS NOT NULL"
"""A place for `rescue` that comes after it has marked the silent workers."""


async def waits_for_lock(scene: Scene, task: asyncio.Task[Any]) -> None:
    """Returns when a statement of this database waits for a row lock; fails if `task` ends first."""

    async def waiting() -> bool:
        assert not task.done(), f"it did not wait: {task}"
        rows = await scene.ask(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(rows)

    await eventually(waiting)


async def impatient(link: Link, milliseconds: int = 200) -> None:
    """Shortens how long this transaction waits for a lock."""
    await link.fetch("set_patience", patience=f"{milliseconds}ms")
