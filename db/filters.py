"""Which jobs: the filters of lists and of bulk changes, as conditions on `jobs`.

Pure: nothing here runs a query. A filter is split into `plain` conditions, which a scan can test on a row's narrow
columns, and `deep` ones, which open its JSON and are therefore bounded by `db.lists`.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Table, Text, and_, cast, false, func, not_, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array

from db.lifecycle import CLAIMABLE, JobStatus
from db.models import Job, Ready, Running

JOBS: Table = Job.__table__  # type: ignore[assignment]
READY: Table = Ready.__table__  # type: ignore[assignment]
RUNNING: Table = Running.__table__  # type: ignore[assignment]

CLOCK_SLACK = timedelta(hours=1)
"""How far the clock of an API process, which makes the ids, may be from the database's, which writes `created_at`."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions, ANDed; what is None or empty says nothing.

    `statuses`, `priorities` and `ids` are ORed among themselves, `tags` ANDed. `task` ending in `.*` is a prefix. `metadata` holds
    (key, value) and `payload` (path, value) pairs of texts; a value is compared as JSON and as text. `nothing` matches no
    job: it stands for ids that cannot exist.
    """

    statuses: frozenset[JobStatus] = frozenset()
    tags: tuple[str, ...] = ()
    task: str | None = None
    pool: str | None = None
    priority: str | None = None
    priorities: frozenset[str] = frozenset()
    idempotency_key: str | None = None
    unique_key: str | None = None
    schedule_id: UUID | None = None
    workflow_id: UUID | None = None
    parent_id: UUID | None = None
    worker: UUID | None = None
    ids: frozenset[UUID] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    scheduled: bool | None = None
    not_asked_to_cancel: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    payload: tuple[tuple[str, str], ...] = ()
    nothing: bool = False

    @property
    def is_selective(self) -> bool:
        """Whether a table or index finds its jobs without a scan through the history."""
        narrow = self.ids is not None or self.nothing or self.scheduled is True
        return narrow or (bool(self.statuses) and self.statuses <= CLAIMABLE | {JobStatus.RUNNING, JobStatus.FAILED})

    @property
    def ids_from(self) -> UUID | None:
        """No job that fits has a smaller id."""
        return None if self.created_after is None else lowest_id(self.created_after, -CLOCK_SLACK)

    @property
    def ids_below(self) -> UUID | None:
        """No job that fits has this id or a greater one: what ended before a moment was submitted before it."""
        moments = [moment for moment in (self.created_before, self.finished_before) if moment is not None]
        return lowest_id(min(moments), CLOCK_SLACK) if moments else None

    @property
    def is_open(self) -> bool:
        """Whether it takes every job of a stretch of ids."""
        return self == JobFilter(created_after=self.created_after, created_before=self.created_before)


@dataclass(frozen=True, slots=True)
class Conditions:
    """A filter in SQL: where the rows come from, and what must hold."""

    source: FromClause
    plain: list[ColumnElement[bool]] = field(default_factory=list)
    deep: list[ColumnElement[bool]] = field(default_factory=list)


def conditions(tenant: str, wanted: JobFilter) -> Conditions:
    """`wanted` over the jobs of a tenant."""
    made = Conditions(_source(wanted))
    jobs = JOBS.c
    made.plain.append(jobs.tenant == tenant)
    if wanted.nothing:
        made.plain.append(false())
    for name in ("pool", "priority", "idempotency_key", "unique_key", "schedule_id", "workflow_id", "parent_id"):
        value = getattr(wanted, name)
        if value is not None:
            made.plain.append(jobs[name] == value)
    if wanted.priorities:
        made.plain.append(jobs.priority.in_(sorted(wanted.priorities)))
    if wanted.worker is not None:
        made.plain.append(jobs.worker_id == wanted.worker)
    if wanted.task is not None:
        made.plain.append(_task(wanted.task))
    if wanted.statuses:
        made.plain.append(jobs.status.in_(sorted(wanted.statuses)))
        if wanted.statuses == {JobStatus.FAILED}:
            made.plain.append(jobs.failed_at.is_not(None))  # what makes the index of failures usable
    if wanted.ids is not None:
        made.plain.append(jobs.id.in_(sorted(wanted.ids)) if wanted.ids else false())
    if wanted.tags:
        made.plain.append(jobs.tags.contains(list(wanted.tags)))
    if wanted.not_asked_to_cancel:
        made.plain.append(jobs.cancel_requested_at.is_(None))
    made.plain.extend(_times(wanted))
    if wanted.scheduled is not None:
        waits = and_(jobs.status.in_(sorted(CLAIMABLE)), jobs.run_at > func.now())
        made.plain.append(waits if wanted.scheduled else not_(waits))
    for key, value in wanted.metadata:
        made.deep.append(_equals(jobs.metadata.op("->")(key), jobs.metadata.op("->>")(key), value))
    for path, value in wanted.payload:
        steps = cast(array(path.split(".")), ARRAY(Text))
        made.deep.append(_equals(jobs.payload.op("#>")(steps), jobs.payload.op("#>>")(steps), value))
    return made


def _source(wanted: JobFilter) -> FromClause:
    """The narrowest table that holds every job the filter can mean."""
    if wanted.ids is None and (wanted.scheduled is True or (wanted.statuses and wanted.statuses <= CLAIMABLE)):
        return JOBS.join(READY, READY.c.id == JOBS.c.id)
    if wanted.ids is None and wanted.statuses == {JobStatus.RUNNING}:
        return JOBS.join(RUNNING, RUNNING.c.id == JOBS.c.id)
    return JOBS


def _task(name: str) -> ColumnElement[bool]:
    if name.endswith(".*"):
        return JOBS.c.task.startswith(name[:-1], autoescape=True)
    return JOBS.c.task == name


def _times(wanted: JobFilter) -> list[ColumnElement[bool]]:
    jobs = JOBS.c
    found: list[ColumnElement[bool]] = []
    if wanted.created_after is not None:
        found.append(jobs.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        found.append(jobs.created_at < wanted.created_before)
    if wanted.finished_after is not None:
        found.append(jobs.finished_at >= wanted.finished_after)
    if wanted.finished_before is not None:
        found.append(jobs.finished_at < wanted.finished_before)
    if wanted.ids_from is not None:
        found.append(jobs.id >= wanted.ids_from)
    if wanted.ids_below is not None:
        found.append(jobs.id < wanted.ids_below)
    return found


def _equals(as_json: ColumnElement[Any], as_text: ColumnElement[Any], value: str) -> ColumnElement[bool]:
    equal_text: ColumnElement[bool] = cast(as_text, Text) == value
    if not _is_json(value):
        return equal_text
    # Bound as text and read by PostgreSQL: bound as JSONB it would be encoded once more, into a JSON string.
    return or_(equal_text, cast(as_json, JSONB) == cast(cast(value, Text), JSONB))


def _is_json(text: str) -> bool:
    """Whether it is JSON to PostgreSQL too, which takes no NaN, no number of any size and not every text."""
    try:
        parts = [json.loads(text, parse_constant=_number, parse_float=_number)]
    except (ValueError, RecursionError):
        return False
    while parts:
        part = parts.pop()
        if isinstance(part, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in part):
            return False
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, list):
            parts += part
    return True


def _number(text: str) -> float:
    if text in ("NaN", "Infinity", "-Infinity") or len(text.lower().partition("e")[2]) > len("+999"):
        raise ValueError(f"{text} is no number of JSON, or none that a job can hold")
    return float(text)


def lowest_id(moment: datetime, slack: timedelta = timedelta()) -> UUID:
    """The least UUIDv7 of a moment, `slack` later: every id made then or later is not below it."""
    # added as seconds: the first and the last hour of the calendar have no date beyond them
    milliseconds = max(0, int((moment.timestamp() + slack.total_seconds()) * 1000))
    return UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0x2 << 62)
