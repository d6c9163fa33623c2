"""Mending what can be mended without deciding anything: the queue and the leases are made to say what the jobs say.

The job's own row is never changed. It is locked first, in a statement of its own; what follows judges it again as it
stands, so whatever was true when it was found, a job that moved on meanwhile is left as it is. Each job that was mended
has a row in its history, event `repaired`, by `fsck`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from db.consistency_rules import RULES, Found
from db.engine import Database, Link
from db.errors import Locked

BATCH = 100
"""Jobs a transaction: they are locked while it lasts, so that nothing starts them."""

_STATEMENTS = {"ready": "consistency_mend_queue", "lease": "consistency_mend_leases"}


@dataclass(frozen=True, slots=True)
class Mended:
    """One thing that was put right."""

    code: str
    id: UUID


Tell = Callable[[Link, Sequence[Mended]], Awaitable[None]]
"""Told in the transaction that mends."""


async def mend(database: Database, found: Iterable[Found], tell: Tell | None = None) -> list[Mended]:
    """Mends the examples of what was found, where that is safe. Raises the errors of `db.errors`.

    A job that somebody else holds for longer than the lock timeout is left: the next look finds it again.
    """
    wanted: dict[str, set[UUID]] = {}
    for one in found:
        rule = RULES.get(one.code)
        if rule is not None and rule.repairable:
            wanted.setdefault(one.code.partition("-")[0], set()).update(map(UUID, one.examples))
    mended: list[Mended] = []
    for kind in sorted(wanted):
        ids = sorted(wanted[kind])
        for start in range(0, len(ids), BATCH):
            mended += await _mend_apart(database, _STATEMENTS[kind], ids[start : start + BATCH], tell)
    return mended


async def _mend_apart(database: Database, statement: str, ids: Sequence[UUID], tell: Tell | None) -> list[Mended]:
    """Mends `ids` together or, where a lock is not granted, in halves until the one that is held stands alone."""
    try:
        return await _mend(database, statement, ids, tell)
    except Locked:
        if len(ids) == 1:
            return []
        middle = len(ids) // 2
        return [
            *await _mend_apart(database, statement, ids[:middle], tell),
            *await _mend_apart(database, statement, ids[middle:], tell),
        ]


async def _mend(database: Database, statement: str, ids: Sequence[UUID], tell: Tell | None) -> list[Mended]:
    async with database.begin() as link:
        await link.fetch("consistency_lock", ids=ids)
        mended = [Mended(row["code"], row["id"]) for row in await link.fetch(statement, ids=ids)]
        if mended and tell is not None:
            await tell(link, mended)
        return mended
