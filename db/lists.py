"""Lists of jobs, newest first, by keyset; no totals, no offsets that grow.

What no index serves is looked for in stretches of ids, newest first, for a bounded time and a bounded number of rows.
Where that ends before the page is full, the page says how far back it looked, and its position continues there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, Text, and_, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB

from db.filters import JOBS, Conditions, JobFilter, conditions
from db.reading import Reader
from db.records import COLUMNS, JobRecord

STRETCH = 100_000
"""Jobs that one query of a scan passes over: some 100 ms."""
DEEP_BOUND = 100_000
"""Jobs whose JSON a search looks into, over all its pages."""
SCAN_SECONDS = 2.5
"""Time after which a scan answers with what it has."""

HEAVY = frozenset({"payload", "result"})


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list continues: below `id`; `looked` jobs were looked into so far."""

    id: UUID
    looked: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `after` is None at its end; `searched_back_to` says where a bounded search stopped short."""

    jobs: list[JobRecord]
    after: Position | None
    searched_back_to: datetime | None = None


async def newest(
    reader: Reader,
    tenant: str,
    wanted: JobFilter,
    *,
    after: Position | None = None,
    limit: int,
    include: frozenset[str],
) -> Page:
    """Up to `limit` jobs that fit, newest first. `include` names the heavy columns to fetch: payload, result.

    Raises TooSlow, and the errors of `db.errors`.
    """
    search = _Search(reader, conditions(tenant, wanted), wanted, limit, _columns(include))
    return await search.run(after)


async def ids(reader: Reader, tenant: str, wanted: JobFilter, limit: int) -> tuple[list[UUID], bool]:
    """Up to `limit` ids that fit, newest first, and whether there may be more."""
    search = _Search(reader, conditions(tenant, wanted), wanted, limit, _columns(frozenset()))
    page = await search.run(None)
    return [job.id for job in page.jobs], page.after is not None or page.searched_back_to is not None


async def failures(
    reader: Reader,
    tenant: str,
    wanted: JobFilter,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    include: frozenset[str],
) -> tuple[list[JobRecord], bool]:
    """Up to `limit` FAILED jobs that fit, newest failure first, and whether there are more."""
    made = conditions(tenant, wanted)
    jobs = JOBS.c
    query = select(*_columns(include)).select_from(JOBS).where(jobs.failed_at.is_not(None), *made.plain, *made.deep)
    if after is not None:
        query = query.where(func.row(jobs.failed_at, jobs.id) < func.row(*after))
    rows = await reader.rows(query.order_by(jobs.failed_at.desc(), jobs.id.desc()).limit(limit + 1))
    return [JobRecord.of(row.items()) for row in rows[:limit]], len(rows) > limit


def _columns(include: frozenset[str]) -> list[ColumnElement[Any]]:
    """The columns of a record, JSON as text."""
    wanted = [JOBS.c[name] for name in COLUMNS if name not in HEAVY or name in include]
    return [cast(column, Text).label(column.name) if isinstance(column.type, JSONB) else column for column in wanted]


class _Search:
    """One page of one list."""

    def __init__(
        self, reader: Reader, made: Conditions, wanted: JobFilter, limit: int, columns: Sequence[ColumnElement[Any]]
    ) -> None:
        self._reader = reader
        self._made = made
        self._wanted = wanted
        self._limit = limit
        self._columns = columns
        self._found: list[Mapping[str, Any]] = []

    async def run(self, after: Position | None) -> Page:
        below = self._wanted.ids_below if after is None else after.id
        bottom = self._wanted.ids_from
        looked = 0 if after is None else after.looked
        give_up = time.monotonic() + SCAN_SECONDS
        by_stretch = not (self._wanted.is_selective or self._wanted.is_open)
        while True:
            floor = await self._floor(below) if by_stretch else None
            if floor is not None and bottom is not None and floor <= bottom:
                floor = None  # nothing that fits is below
            if self._made.deep:
                looked, stopped_at = await self._look_into(below, floor, looked)
                if stopped_at is not None and len(self._found) <= self._limit:
                    return Page([JobRecord.of(row.items()) for row in self._found], None, stopped_at)
            else:
                await self._look_at(below, floor)
            if len(self._found) > self._limit:
                return self._full(looked)
            if floor is None:
                return Page([JobRecord.of(row.items()) for row in self._found], None)
            below = floor
            if time.monotonic() > give_up:
                back_to = await self._created_at(floor)
                return Page([JobRecord.of(row.items()) for row in self._found], Position(floor, looked), back_to)

    def _full(self, looked: int) -> Page:
        last = self._found[self._limit - 1]
        return Page(
            [JobRecord.of(row.items()) for row in self._found[: self._limit]],
            Position(last["id"], last.get("n", looked)),
        )

    def _range(self, below: UUID | None, floor: UUID | None) -> list[ColumnElement[bool]]:
        bounds: list[ColumnElement[bool]] = []
        if below is not None:
            bounds.append(JOBS.c.id < below)
        if floor is not None:
            bounds.append(JOBS.c.id >= floor)
        return bounds

    async def _floor(self, below: UUID | None) -> UUID | None:
        """The id where a stretch below `below` ends, or None where it is the last."""
        plain = [self._made.plain[0], *self._range(below, None)]
        query = select(JOBS.c.id).where(and_(*plain)).order_by(JOBS.c.id.desc()).offset(STRETCH).limit(1)
        rows = await self._reader.rows(query)
        return rows[0]["id"] if rows else None

    async def _created_at(self, job_id: UUID) -> datetime | None:
        rows = await self._reader.rows(select(JOBS.c.created_at).where(JOBS.c.id == job_id))
        return rows[0]["created_at"] if rows else None

    async def _look_at(self, below: UUID | None, floor: UUID | None) -> None:
        query = (
            select(*self._columns)
            .select_from(self._made.source)
            .where(*self._made.plain, *self._range(below, floor))
            .order_by(JOBS.c.id.desc())
            .limit(self._limit + 1 - len(self._found))
        )
        self._found += await self._reader.rows(query)

    async def _look_into(self, below: UUID | None, floor: UUID | None, looked: int) -> tuple[int, datetime | None]:
        """One stretch of a deep search: how many were looked into by now, and where the bound stopped it."""
        fitting = self._fitting(below, floor, max(0, DEEP_BOUND - looked))
        query = (
            select(*self._columns, (fitting.c.n + looked).label("n"))
            .select_from(JOBS.join(fitting, fitting.c.id == JOBS.c.id))
            .where(*self._made.deep)
            .order_by(JOBS.c.id.desc())
            .limit(self._limit + 1 - len(self._found))
        )
        self._found += await self._reader.rows(query)
        if len(self._found) > self._limit:
            return looked, None
        last = await self._reader.rows(select(fitting.c.n, fitting.c.created_at).order_by(fitting.c.n.desc()).limit(1))
        if not last:
            return looked, None
        looked += last[0]["n"]
        return looked, last[0]["created_at"] if looked >= DEEP_BOUND else None

    def _fitting(self, below: UUID | None, floor: UUID | None, budget: int) -> Subquery:
        """The jobs that fit all but the deep conditions, numbered from the newest."""
        numbered: Select[Any] = (
            select(JOBS.c.id, JOBS.c.created_at, func.row_number().over(order_by=JOBS.c.id.desc()).label("n"))
            .select_from(self._made.source)
            .where(*self._made.plain, *self._range(below, floor))
            .order_by(JOBS.c.id.desc())
            .limit(budget)
        )
        return numbered.subquery("fitting")
