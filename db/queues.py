"""Queues: one priority of one pool each. Pausing them, and what stands in them."""

from dataclasses import dataclass
from datetime import datetime

from db.engine import Link
from db.pauses import Turned, paused, resumed
from db.rollups import COUNTED_AT_EACH_LOOK


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs of one task waiting in one queue.

    `held`: nothing may start them now, or nobody is there who could. Where `exact` is false one of the numbers is what the
    leader counted last, or, while it has not, the bound up to which they were counted now.
    """

    pool: str
    priority: str
    task: str
    due: int
    scheduled: int
    oldest_seconds: float | None
    held: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class Running:
    """Jobs of one task running from one queue."""

    pool: str
    priority: str
    task: str
    running: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Live workers that serve one queue; a worker of several priorities counts in each with all its slots."""

    pool: str
    priority: str
    workers: int
    slots: int
    slots_free: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A paused queue."""

    pool: str
    priority: str
    at: datetime
    reason: str | None


async def pause(link: Link, pool: str, priority: str, reason: str | None) -> Turned:
    """Nothing new starts from the queue; what runs goes on. A second pause only changes the reason, if it has another."""

    async def give(other: str) -> None:
        await link.fetch("pause_queue_reason", pool=pool, priority=priority, reason=other)

    (row,) = await link.fetch("pause_queue", pool=pool, priority=priority, reason=reason)
    return await paused(row, reason, give)


async def resume(link: Link, pool: str, priority: str) -> Turned:
    """Ends the pause, if there is one."""
    return resumed(await link.row("resume_queue", pool=pool, priority=priority))


async def pauses(link: Link) -> list[Pause]:
    """All paused queues."""
    return [Pause(*tuple(row)) for row in await link.fetch("queue_pauses")]


async def depths(link: Link, lease: float) -> list[Depth]:
    """What waits. A worker is live while its beat is younger than `lease` seconds."""
    return [Depth(*tuple(row)) for row in await link.fetch("queue_depths", lease=lease, bound=COUNTED_AT_EACH_LOOK)]


async def running(link: Link) -> list[Running]:
    """What runs."""
    return [Running(*tuple(row)) for row in await link.fetch("queue_running")]


async def fleet(link: Link, lease: float) -> list[Fleet]:
    """Who serves which queue."""
    return [
        Fleet(row["pool"], row["priority"], row["workers"], int(row["slots"]), int(row["slots_free"]))
        for row in await link.fetch("queue_workers", lease=lease)
    ]
