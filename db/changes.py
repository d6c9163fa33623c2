"""What has changed: asked of PostgreSQL by whoever wants to know, announced by nobody.

A job's row has a version (`xmin`, the transaction that wrote it). Which jobs may have changed since a mark is found through
indexes: jobs submitted, started, with progress, named in the history, ended. So a worker or a route does nothing for those
who watch, and nothing is missed because a message was lost: a change is found until the mark has passed it. Two changes in
quick succession may be seen as one, because what is read is the state.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Link
from db.filters import JOBS, JobFilter, conditions, lowest_id
from db.reading import Reader
from db.records import JobRecord

OVERLAP: Final = timedelta(seconds=5)
"""How far behind its mark a look begins. Times are those of a transaction's begin, and it is seen at its commit; the server
gives up a statement after as long."""
ID_SLACK: Final = timedelta(seconds=60)
"""How far the clock of an API process, which makes the ids, may be behind the database's for its jobs to be seen as new."""
LOOK: Final = 20_000
"""Jobs of one tenant that a look brings at most: some 30 ms."""
DEEP: Final = 200_000
"""Rows of the history, and jobs that ended, of all tenants that a look goes through at most to find those of some tenants:
half a second, and far more than a deployment does between two looks."""
_HISTORY_SLACK: Final = 5_000
"""Rows of the history that a first mark goes back, as long as it is not known which of them were there for `OVERLAP`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment by the database's clock, and a row of the history below which nothing new appears after that moment."""

    at: datetime
    history: int


class Marks:
    """Makes marks out of what one look after the other says. Rows of the history can appear in another order than their
    ids, up to `OVERLAP` late, so a mark names the newest row of a look so long ago.
    """

    def __init__(self) -> None:
        self._past: deque[tuple[datetime, int]] = deque()

    def next(self, at: datetime, top: int) -> Mark:
        """The mark of a look at `at`, when `top` was the newest row of the history."""
        self._past.append((at, top))
        while len(self._past) > 1 and self._past[1][0] <= at - OVERLAP:
            self._past.popleft()
        oldest_at, oldest_top = self._past[0]
        settled = oldest_at <= at - OVERLAP
        return Mark(at, oldest_top if settled else max(0, oldest_top - _HISTORY_SLACK))


@dataclass(frozen=True, slots=True)
class Changes:
    """Jobs that may have changed: by tenant, with the versions of their rows."""

    jobs: Mapping[str, Mapping[UUID, str]]
    at: datetime
    top: int
    cut: bool
    """There may be more of everybody's."""
    crowded: frozenset[str] = frozenset()
    """Tenants of whose jobs too many have changed, so that none is named."""

    def is_cut(self, tenant: str) -> bool:
        """Whether there may be more of this tenant's."""
        return self.cut or tenant in self.crowded

    def of(self, tenant: str) -> Mapping[UUID, str]:
        """Those of a tenant."""
        return self.jobs.get(tenant, {})


@dataclass(frozen=True, slots=True)
class Known:
    """A job of a tenant, and the version of it that is known; empty: none."""

    tenant: str
    id: UUID
    version: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """A job as it is at `at`; `record` is None where the tenant has no such job."""

    tenant: str
    id: UUID
    at: datetime
    version: str
    record: JobRecord | None


async def mark(link: Link) -> tuple[datetime, int]:
    """The database's time and the newest row of the history."""
    (row,) = await link.fetch("change_mark")
    return row["at"], row["top"]


async def since(link: Link, mark: Mark, tenants: Iterable[str], *, look: int = LOOK, deep: int = DEEP) -> Changes:
    """What of these tenants may have changed since `mark`, a little from before it included."""
    begin = mark.at - OVERLAP
    *rows, end = await link.fetch(
        "changed_jobs",
        tenants=sorted(set(tenants)),
        since=begin,
        floor=lowest_id(begin - ID_SLACK),
        last=mark.history,
        look=look,
        deep=deep,
    )
    found: dict[str, dict[UUID, str]] = {}
    crowded = set()
    for row in rows:
        if row["id"] is None:
            crowded.add(row["tenant"])
        else:
            found.setdefault(row["tenant"], {})[row["id"]] = row["version"]
    return Changes(found, end["at"], end["top"], end["cut"], frozenset(crowded))


async def states(link: Link, known: Iterable[Known]) -> list[State]:
    """Those of `known` that stand otherwise than known, and those that are not there."""
    asked = list(known)
    rows = await link.fetch(
        "job_states",
        ids=[one.id for one in asked],
        tenants=[one.tenant for one in asked],
        versions=[one.version for one in asked],
    )
    return [
        State(
            row["asked_tenant"],
            row["asked_id"],
            row["at"],
            row["version"] or "",
            None if row["id"] is None else JobRecord.of(row.items()),
        )
        for row in rows
    ]


async def fitting(reader: Reader, tenant: str, wanted: JobFilter, ids: Sequence[UUID]) -> set[UUID]:
    """Those of `ids` that fit `wanted`. Raises TooSlow, and the errors of `db.errors`."""
    made = conditions(tenant, wanted)
    these: Any = cast(list(ids), ARRAY(Uuid))
    query = select(JOBS.c.id).select_from(made.source).where(JOBS.c.id == func.any(these), *made.plain, *made.deep)
    return {row["id"] for row in await reader.rows(query)}


def whatever_stands(wanted: JobFilter) -> JobFilter:
    """`wanted` without what a job leaves by running: for those who may have seen it before it left. Pure."""
    return replace(wanted, statuses=frozenset(), worker=None, scheduled=None, finished_after=None, finished_before=None)
