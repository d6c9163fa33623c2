"""The audit log: who did what to which object, append-only.

Owns what an entry is and how large it may be, writing one inside the transaction of what it tells, and reading them.
Only the pruner deletes (`db.retention`); triggers refuse everything else, from whoever it comes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, func, or_, select
from sqlalchemy.dialects.postgresql import array

from db.engine import Link
from db.models import Audit
from db.reading import Reader

AUDIT: Final[Table] = Audit.__table__  # type: ignore[assignment]

MAX_STATE: Final = 8 * 1024
"""Bytes of `before` and of `after`, as compact JSON; of what is larger only a digest is kept."""


class Action(StrEnum):
    """What can have been done: an object's kind, a dot, what became of it."""

    JOB_CANCEL = "job.cancel"
    JOB_EDIT = "job.edit"
    JOB_REPLAY = "job.replay"
    JOB_RUN_NOW = "job.run-now"
    JOBS_CANCEL = "jobs.cancel"
    JOBS_REPLAY = "jobs.replay"
    DEAD_LETTER_REPLAY = "dead-letter.replay"
    QUEUE_PAUSE = "queue.pause"
    QUEUE_RESUME = "queue.resume"
    TASK_PAUSE = "task.pause"
    TASK_RESUME = "task.resume"
    WORKER_DRAIN = "worker.drain"
    KEY_CREATE = "key.create"
    KEY_ROTATE = "key.rotate"
    KEY_REVOKE = "key.revoke"
    KEY_TOKEN = "key.token"  # noqa: S105 - the name of an action
    CONSISTENCY_REPAIR = "consistency.repair"


class Kind(StrEnum):
    """What it was done to."""

    JOB = "job"
    JOBS = "jobs"
    """Many at once: the entry has `object_ids` instead of an id."""
    QUEUE = "queue"
    TASK = "task"
    WORKER = "worker"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did. `before` and `after` hold what it changed, and nothing else."""

    tenant: str
    actor: str
    action: Action
    kind: Kind
    object_id: str | None
    """None where `object_ids` says which jobs."""
    actor_key: str | None = None
    object_ids: Sequence[UUID] | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None


async def write(link: Link, entry: Entry) -> None:
    """Adds an entry, inside the transaction of what it tells."""
    await link.fetch(
        "audit_write",
        tenant=entry.tenant,
        actor=entry.actor,
        actor_key=entry.actor_key,
        action=str(entry.action),
        object_kind=str(entry.kind),
        object_id=entry.object_id,
        object_ids=None if entry.object_ids is None else list(entry.object_ids),
        was=_bounded(entry.before),
        became=_bounded(entry.after),
        reason=entry.reason,
        request_id=entry.request_id,
        address=entry.address,
    )


def digest(value: Any) -> dict[str, str]:
    """What stands for a value that is not copied: SHA-256 over its canonical JSON (names sorted, no spaces). Pure."""
    return {"sha256": hashlib.sha256(_canonical(value).encode()).hexdigest()}


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _bounded(state: Mapping[str, Any] | None) -> str | None:
    if state is None:
        return None
    text = json.dumps(dict(state), separators=(",", ":"))
    return text if len(text) <= MAX_STATE else json.dumps(digest(dict(state)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions, ANDed; what is None says nothing. `action` ending in `.*` is a prefix."""

    actor: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    """An id of a job finds the bulk changes that changed it, too."""
    after: datetime | None = None
    before: datetime | None = None


async def newest(
    reader: Reader,
    tenant: str,
    wanted: Wanted,
    *,
    below: tuple[datetime, int] | None,
    limit: int,
    with_ids: bool = False,
) -> tuple[list[Mapping[str, Any]], bool]:
    """Up to `limit` entries that fit, newest first, and whether there are more; `below` is the last of the page before.

    Rows have the columns of the table, `object_ids` only where it is asked for. Raises TooSlow, and the errors of
    `db.errors`.
    """
    columns = [column for column in AUDIT.c if with_ids or column.name != "object_ids"]
    query = select(*columns).where(and_(AUDIT.c.tenant == tenant, *_conditions(wanted)))
    if below is not None:
        query = query.where(func.row(AUDIT.c.at, AUDIT.c.id) < func.row(*below))
    rows = await reader.rows(query.order_by(AUDIT.c.at.desc(), AUDIT.c.id.desc()).limit(limit + 1))
    return list(rows[:limit]), len(rows) > limit


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    log = AUDIT.c
    found: list[ColumnElement[bool]] = []
    if wanted.actor is not None:
        found.append(log.actor == wanted.actor)
    if wanted.action is not None:
        prefix, is_prefix = wanted.action.removesuffix("*"), wanted.action.endswith(".*")
        found.append(log.action.startswith(prefix, autoescape=True) if is_prefix else log.action == wanted.action)
    if wanted.object_id is not None:
        found.append(_of(wanted.object_kind, wanted.object_id))
    elif wanted.object_kind is not None:
        found.append(log.object_kind == wanted.object_kind)
    if wanted.after is not None:
        found.append(log.at >= wanted.after)
    if wanted.before is not None:
        found.append(log.at < wanted.before)
    return found


def _of(kind: str | None, object_id: str) -> ColumnElement[bool]:
    """Entries about one object: those that name it, and where it can be a job those that name it among others."""
    log = AUDIT.c
    kinds = [kind] if kind is not None else [str(one) for one in Kind]
    found = _uuid(object_id)
    named = and_(log.object_kind.in_(kinds), log.object_id == (object_id if found is None else str(found)))
    if found is None or kind not in (None, Kind.JOB):
        return named
    return or_(named, and_(log.object_ids.is_not(None), log.object_ids.contains(array([found]))))


def _uuid(text: str) -> UUID | None:
    """The id that `text` writes in the usual form, in whichever case."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None
