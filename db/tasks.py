"""The catalogue of tasks: what has been announced, by which schema, and what is paused."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.engine import Link
from db.pauses import Turned, paused, resumed


@dataclass(frozen=True, slots=True)
class Announcement:
    """A task as a worker or a deploy step announces it. Schemas are JSON Schemas, `defaults` in the wire's words."""

    name: str
    schema_hash: str
    payload_schema: Mapping[str, Any]
    result_schema: Mapping[str, Any] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """One schema of one task; `live` counts the workers that have it."""

    name: str
    schema_hash: str
    announced_at: datetime
    live: int
    paused_at: datetime | None
    pause_reason: str | None


@dataclass(frozen=True, slots=True)
class Schemas:
    """What was announced under one name and hash."""

    payload_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    defaults: dict[str, Any]


async def announce(link: Link, entries: Iterable[Announcement]) -> int:
    """Stores `entries`, or renews when they were announced. Returns how many."""
    distinct = {(entry.name, entry.schema_hash): entry for entry in entries}
    known = [distinct[key] for key in sorted(distinct)]
    if not known:
        return 0
    rows = await link.fetch(
        "announce_tasks",
        names=[entry.name for entry in known],
        hashes=[entry.schema_hash for entry in known],
        payload_schemas=[json.dumps(entry.payload_schema) for entry in known],
        result_schemas=[None if entry.result_schema is None else json.dumps(entry.result_schema) for entry in known],
        defaults=[json.dumps(dict(entry.defaults)) for entry in known],
    )
    return len(rows)


async def catalogue(link: Link, lease: float) -> list[Known]:
    """Everything known, by name, newest announcement first. A worker is live while its beat is younger than `lease`."""
    return [Known(*tuple(row)) for row in await link.fetch("catalogue", lease=lease)]


async def schemas(link: Link, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Schemas]:
    """The schemas of (name, hash) pairs."""
    rows = await link.fetch("task_schemas", names=[name for name, _ in keys], hashes=[digest for _, digest in keys])
    return {
        (row["name"], row["schema_hash"]): Schemas(
            json.loads(row["payload_schema"]),
            None if row["result_schema"] is None else json.loads(row["result_schema"]),
            json.loads(row["defaults"]),
        )
        for row in rows
    }


async def pause(link: Link, task: str, reason: str | None) -> Turned | None:
    """Pauses a task; a second pause only changes the reason, if it has another. None where the catalogue knows no such task."""

    async def give(other: str) -> None:
        await link.fetch("pause_task_reason", task=task, reason=other)

    row = await link.row("pause_task", task=task, reason=reason)
    return None if row is None else await paused(row, reason, give)


async def resume(link: Link, task: str) -> Turned:
    """Ends the pause of a task, if there is one."""
    return resumed(await link.row("resume_task", task=task))
