"""Looking at every row: the tables from end to end, in bounded steps, each in a snapshot of its own.

A step reads rows by their key and what belongs to them, all in one statement, so that it is right about each of them
however long the whole takes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from db.consistency import Answer, Limits, Look, ask, snapshot
from db.engine import Database

CHUNK = 5_000
"""Rows a step: far below the time that a statement may take."""

Mend = Callable[[Answer], Awaitable[int]]
"""Repairs what a step found; how much it changed."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How one table is gone through: its statement, and the bind that says where to go on."""

    place: str
    statement: str
    cursor: str = "after"
    timed: bool = False
    """It judges by time, and takes the lengths of a lease and of what is late."""

    def binds(self, limits: Limits, at: Any) -> dict[str, Any]:
        """The values of one step."""
        found: dict[str, Any] = {"n": CHUNK, self.cursor: at}
        if self.place == "ready":
            found["both"] = False
        if self.timed:
            found |= {"lease": limits.lease, "seconds": limits.late}
        return found


WALKS = (
    Walk("running", "consistency_leases", timed=True),
    Walk("ready", "consistency_ready"),
    Walk("jobs", "consistency_jobs"),
    Walk("history", "consistency_history", cursor="before"),
)
"""The small tables first: what a person waits for is then said soon."""


async def sweep(
    database: Database,
    walk: Walk,
    limits: Limits,
    *,
    tell: Callable[[str, int], None] = lambda _place, _rows: None,
    mend: Mend | None = None,
) -> Look:
    """Goes through one table. `tell` hears the place and how many rows were looked at after each step.

    With `mend` each step that found something is repaired and taken again, until repairing changes nothing more.
    Raises the errors of `db.errors`.
    """
    seen = Look()
    at: Any = None
    while True:
        answer = await _step(database, walk, limits, at)
        while mend is not None and answer.found and await mend(answer):
            answer = await _step(database, walk, limits, at)
        seen.add(answer.found)
        seen.count(walk.place, answer.rows)
        tell(walk.place, seen.looked_at[walk.place])
        if answer.rows < CHUNK or answer.last is None:
            return seen
        at = int(answer.last) if walk.cursor == "before" else answer.last


async def _step(database: Database, walk: Walk, limits: Limits, at: Any) -> Answer:
    async with snapshot(database) as link:
        return await ask(link, walk.statement, limits, **walk.binds(limits, at))
