"""Counting what ended, by the leader: rolled-up ends, totals of the final jobs that are there, counts of deep queues.

No submit and no finish writes a row that another one writes too. Instead the leader reads what ended since the *mark*, in
steps of time, and writes its sums and the new mark in one transaction, so each end is counted exactly once whoever
leads, dies or leads twice. A job's end is the `now()` of its transaction, which commits a little later; the mark
therefore stays behind everything that may still be committed (`MARGIN`).

Rollups count ends as events and keep them: a replay or retention takes nothing back. Totals count jobs that are there:
a replay and a prune are taken off.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.engine import Database, Link

MARGIN = 2.0
"""Seconds that the mark stays behind at least: for a clock that is set back, and for the moment between a transaction's
`now()` and its being seen among the sessions. Behind open transactions it stays in any case."""
LONGEST = 20.0
"""Seconds after its start in which a transaction writes or never will: it may idle for 10 s and a statement takes at most
5 s, by settings of the role; 5 s are spare. It is the margin where a session hides when its transaction began, as those
of other roles do."""

RECENT, MIDDLE, OLD = 10, 60, 3600
"""Seconds that one rollup stands for, and what it becomes with age."""

KEPT = {RECENT: 3600.0, MIDDLE: 48 * 3600.0, OLD: 90 * 86_400.0}
"""How long rollups of each span are kept, in seconds, before they become the next, or are deleted."""

COUNTED_AT_EACH_LOOK = 10_000
"""Jobs of one task in one queue that a look at the queues counts itself; beyond, the leader's count stands in."""
_PATIENCE = "200ms"
# An autovacuum that somebody waits for gives up after a second, `deadlock_timeout`.
_SAMPLE = 2_000
"""Waiting jobs of which the leader reads whether they have failed before."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What one step did. `behind`: seconds between the new mark and what could be counted by now."""

    finished: int
    until: datetime
    behind: float


async def summarize(database: Database) -> int:
    """Makes looks by time cheap over pages that are new. Returns how many ranges of pages that were.

    Raises `Locked` while the table is vacuumed, and another of `db.errors` where the role does not own it.
    """
    async with database.begin() as link:
        await link.fetch("set_patience", patience=_PATIENCE)
        row = await link.row("summarize_ended")
        return 0 if row is None else int(row["ranges"])


async def fold(database: Database, *, step: float, margin: float = MARGIN) -> Folded | None:
    """Counts what ended in the `step` seconds after the mark; None where another counts at this moment.

    One transaction. Raises the errors of `db.errors`.
    """
    async with database.begin() as link:
        held = await link.row("lock_rollups", margin=margin, longest=LONGEST)
        if held is None:
            return None
        since, settled = held["folded_until"], held["settled_until"]
        until = min(settled, since + timedelta(seconds=step))
        if until <= since:
            return Folded(0, since, 0.0)
        age = (settled - until).total_seconds()
        span = RECENT if age < KEPT[RECENT] else MIDDLE if age < KEPT[MIDDLE] else OLD
        row = await link.row("fold_finished", since=since, until=until, span=span)
        return Folded(0 if row is None else row["finished"], until, age)


async def merge(database: Database, *, n: int) -> int:
    """Makes old rollups coarser and deletes the oldest, up to `n` rows of each kind; how many of the kind with most.

    One transaction. 0 also where another counts at this moment.
    """
    async with database.begin() as link:
        if await link.row("lock_rollups", margin=MARGIN, longest=LONGEST) is None:
            return 0
        most = 0
        for span, into in ((RECENT, MIDDLE), (MIDDLE, OLD)):
            for name in ("merge_rollups", "merge_rollup_times"):
                most = max(most, await _merged(link, name, span=span, into=into, seconds=KEPT[span], n=n))
        return max(most, await _merged(link, "drop_rollups", span=OLD, seconds=KEPT[OLD], n=n))


async def _merged(link: Link, name: str, **binds: object) -> int:
    row = await link.row(name, **binds)
    return 0 if row is None else int(row["merged"])


async def count_queues(link: Link) -> int:
    """Counts what waits, where it is more than a look counts itself. Returns how many jobs that were."""
    row = await link.row("count_queues", bound=COUNTED_AT_EACH_LOOK, sample=_SAMPLE)
    return 0 if row is None else int(row["waiting"])
