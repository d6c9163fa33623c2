"""Looking for broken rules in PostgreSQL, at a bounded cost that does not grow with finished jobs.

A look begins at the small tables (queue, leases, workers) and at what has just happened (the newest jobs and history),
and asks for everything else by key. All of it is read in one snapshot, in a transaction that cannot write, so however
busy the system is, no job is seen half-way between two tables. What can be so for a moment counts only if a second look
finds it again. `db.consistency_sweep` looks at everything.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from db.consistency_rules import RULES, Found
from db.engine import Database, Link
from db.models import Base

EXAMPLES = 20
"""Things that a finding names."""
STATEMENT_SECONDS = 3
"""How long one statement of a look may take; the whole is a dozen of them."""
_LEASE_ROUNDS = 20  # leases are as many as slots; a window each
_IDS = 2_000  # ids of hints a statement

# Schema-wide names, and the same in every schema.
_CONSTRAINTS = sorted(
    str(constraint.name) for table in Base.metadata.tables.values() for constraint in table.constraints
)
_INDEXES = sorted(str(index.name) for table in Base.metadata.tables.values() for index in table.indexes)
_TRIGGERS = ["audit_rows", "audit_whole"]  # without them the audit log can be changed


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a look goes. Durations are seconds."""

    lease: float = 30.0
    """What the workers' leases last."""
    late: float = 600.0
    """How long something must be overdue to be looked into."""
    window: int = 10_000
    """Rows that are looked at in each place."""
    examples: int = EXAMPLES
    pause: float = 2.0
    """Between two looks at what may pass; a leader and an idle worker act once a second."""


@dataclass(slots=True)
class Look:
    """What was found, and how many rows were looked at by place."""

    found: dict[str, Found] = field(default_factory=dict)
    looked_at: dict[str, int] = field(default_factory=dict)

    def add(self, found: Iterable[Found], *, examples: int = EXAMPLES) -> None:
        """Adds counts, and examples up to a number."""
        for one in found:
            before = self.found.get(one.code, Found(one.code, 0))
            named = tuple(dict.fromkeys((*before.examples, *one.examples)))[:examples]
            self.found[one.code] = Found(one.code, before.count + one.count, named)

    def count(self, place: str, rows: int) -> None:
        """Adds to how many rows were looked at."""
        self.looked_at[place] = self.looked_at.get(place, 0) + rows


@dataclass(frozen=True, slots=True)
class Answer:
    """What one statement found; `last` is where the next one goes on, None where it looked at nothing."""

    found: list[Found]
    rows: int = 0
    last: str | None = None


@contextlib.asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Link]:
    """One view of all tables, for statements that read."""
    async with database.begin() as link:
        await link.executor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await link.fetch("set_statement_timeout", allowed=f"{STATEMENT_SECONDS}s")
        yield link


async def ask(link: Link, statement: str, limits: Limits, **binds: Any) -> Answer:
    """Runs one of the statements `consistency_*`; those over a table answer with a row without a code, too."""
    rows = await link.fetch(statement, most=limits.examples, **binds)
    found = [Found(row["code"], row["found"], tuple(row["examples"] or ())) for row in rows if row["code"] is not None]
    for row in rows:
        if row["code"] is None:
            return Answer(found, row["found"], row["last"])
    return Answer(found)


async def look(database: Database, limits: Limits, *, tables: bool = True) -> Look:
    """One look; without `tables` only at the fleet and the schema. Raises the errors of `db.errors`."""
    seen = Look()
    async with snapshot(database) as link:
        if tables:
            await _tables(link, limits, seen)
        times = {"lease": limits.lease, "seconds": limits.late}
        for statement, binds in (
            ("consistency_stuck", times),
            ("consistency_unserved", times | {"n": limits.window}),
            ("consistency_fleet", {"lease": limits.lease}),
            ("consistency_schema", {"constraints": _CONSTRAINTS, "indexes": _INDEXES, "triggers": _TRIGGERS}),
        ):
            seen.add((await ask(link, statement, limits, **binds)).found, examples=limits.examples)
    return seen


async def _tables(link: Link, limits: Limits, seen: Look) -> None:
    recent = await ask(link, "consistency_recent", limits, n=limits.window)
    ready = await ask(link, "consistency_ready", limits, n=limits.window, after=None, both=True)
    history = await ask(link, "consistency_history", limits, n=limits.window, before=None)
    for place, answer in (("jobs", recent), ("ready", ready), ("history", history)):
        seen.add(answer.found, examples=limits.examples)
        seen.count(place, answer.rows)
    after: str | None = None
    for _ in range(_LEASE_ROUNDS):
        leases = await ask(
            link, "consistency_leases", limits, n=limits.window, after=after, lease=limits.lease, seconds=limits.late
        )
        seen.add(leases.found, examples=limits.examples)
        seen.count("running", leases.rows)
        after = leases.last
        if leases.rows < limits.window:
            return


async def examine(database: Database, limits: Limits, *, tables: bool = True) -> Look:
    """A look, and a second one where the first found something that may pass by itself."""
    first = await look(database, limits, tables=tables)
    if not any(RULES[code].passing for code in first.found):
        return first
    await asyncio.sleep(limits.pause)
    second = await look(database, limits, tables=tables)
    second.found = dict(confirmed(first.found, second.found))
    return second


def confirmed(first: Mapping[str, Found], second: Mapping[str, Found]) -> Iterable[tuple[str, Found]]:
    """What is left of a second look: of what may pass only what the first look found, too. Pure."""
    for code, found in second.items():
        if not RULES[code].passing:
            yield code, found
            continue
        before = first.get(code, Found(code, 0))
        both = tuple(name for name in found.examples if name in before.examples)
        if both:
            whole = both == found.examples == before.examples
            yield code, Found(code, min(found.count, before.count) if whole else len(both), both)


@dataclass(frozen=True, slots=True)
class Hinted:
    """The job that a hint names."""

    pool: str
    priority: str
    final: bool


async def hinted(link: Link, ids: Sequence[UUID]) -> dict[UUID, Hinted]:
    """How the jobs of `ids` stand; an id that is missing from the answer is no job's."""
    found: dict[UUID, Hinted] = {}
    for start in range(0, len(ids), _IDS):
        for row in await link.fetch("consistency_hints", ids=ids[start : start + _IDS]):
            found[row["id"]] = Hinted(row["pool"], row["priority"], row["final"])
    return found
