"""Worker rows: the lease of a process, its roll call, and what the reaper does with the silent ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from db import failpoints
from db.attempts import Moved
from db.engine import Link
from db.lifecycle import JobStatus


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """What a worker process says of itself when it begins."""

    id: UUID
    pool: str
    priorities: Sequence[str]
    tasks: Mapping[str, str]
    host: str
    pid: int
    version: str
    slots: int
    metrics_port: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's last beat as the database has it; `age` in seconds by the database's clock."""

    worker: UUID
    at: datetime
    age: float


@dataclass(frozen=True, slots=True)
class Held:
    """A row of the roll call."""

    id: UUID
    attempt: int
    cancel: bool


@dataclass(frozen=True, slots=True)
class Rescued:
    """A job taken from a dead worker; `free` where no crash was charged."""

    moved: Moved
    worker: UUID
    attempt: int
    free: bool


async def join(link: Link, row: WorkerRow) -> None:
    """Makes the worker's row; harmless when repeated."""
    await failpoints.reach("worker.joining")
    await link.fetch(
        "worker_join",
        worker=row.id,
        pool=row.pool,
        priorities=list(row.priorities),
        tasks=json.dumps(dict(row.tasks)),
        host=row.host,
        pid=row.pid,
        version=row.version,
        slots=row.slots,
        metrics_port=row.metrics_port,
        info=json.dumps(dict(row.info)),
    )


async def beat(link: Link, worker: UUID, *, running: int, slots: int) -> bool | None:
    """Renews the lease. None: it is lost. Otherwise whether somebody asked this worker to drain."""
    row = await link.row("beat", worker=worker, running=running, slots=slots)
    return None if row is None else row["drain"]


async def roll_call(link: Link, worker: UUID) -> list[Held]:
    """The RUNNING rows under `worker`."""
    return [Held(*tuple(row)) for row in await link.fetch("roll_call", worker=worker)]


async def leave(link: Link, worker: UUID) -> None:
    """Ends the lease by oneself."""
    await link.fetch("worker_leave", worker=worker)


async def beats(link: Link) -> list[Beat]:
    """The last beat of every living worker."""
    return [Beat(*tuple(row)) for row in await link.fetch("worker_beats")]


async def rescue(link: Link, silent: Sequence[Beat], *, n: int) -> list[Rescued]:
    """Declares `silent` dead unless they have beaten since, and takes up to `n` jobs of dead or missing workers."""
    rows = await link.fetch("rescue", silent=[beat.worker for beat in silent], beats=[beat.at for beat in silent], n=n)
    return [
        Rescued(
            Moved(
                row["id"],
                JobStatus(row["status"]),
                row["pool"],
                row["priority"],
                row["due_in"] if row["status"] in ("PENDING", "RETRYING") else None,
            ),
            row["worker_id"],
            row["attempt"],
            row["free"],
        )
        for row in rows
    ]


async def expire(link: Link, *, n: int) -> list[Moved]:
    """Cancels up to `n` waiting jobs that were to have started before now."""
    return [Moved(row["id"], JobStatus(row["status"])) for row in await link.fetch("expire", n=n)]


async def list_workers(link: Link, worker: UUID | None = None) -> list[asyncpg.Record]:
    """Living workers, oldest first, or the one asked for."""
    return await link.fetch("worker_list", worker=worker)


class Drain(StrEnum):
    """What asking a worker to drain did."""

    ASKED = "asked"
    ASKED_BEFORE = "asked-before"
    """It has been asked already; nothing changed."""


async def request_drain(link: Link, worker: UUID) -> Drain | None:
    """Asks a worker to drain; None where no living worker has this id."""
    row = await link.row("worker_drain", worker=worker)
    return None if row is None else Drain.ASKED if row["new"] else Drain.ASKED_BEFORE


async def other_live_schemas(link: Link, task: str, schema_hash: str, *, lease: float) -> list[dict[str, Any]]:
    """The payload schemas of `task` that living workers have beside the one of `schema_hash`."""
    rows = await link.fetch("other_live_schemas", task=task, schema_hash=schema_hash, lease=lease)
    return [json.loads(row["payload_schema"]) for row in rows]
