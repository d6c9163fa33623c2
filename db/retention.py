"""Deleting what has been kept for long enough, a bounded batch a call."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from db.engine import Link
from db.lifecycle import JobStatus

FIRST: Final = UUID(int=0)
"""Before every job."""
LAG_SECONDS: Final = 3600.0
"""How much longer than its retention a job is kept so that it is looked at once: most end within an hour of being made."""
_LOOK: Final = 10
"""Jobs that a walk is to look at, a batch: this many times what it may delete, because what is kept longer stands among them."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """One batch: how many were deleted, up to which id it looked, and whether that is all there is to look at by now."""

    deleted: int
    reached: UUID
    at_end: bool


async def prune_jobs(link: Link, status: JobStatus, after: UUID, *, seconds: float, n: int) -> Pruned:
    """Deletes up to `n` jobs of a final `status` that ended more than `seconds` ago, with their history.

    Looks at jobs in the order in which they were made, from `after` on, up to those made `seconds` ago and a little more (a
    twentieth, at most `LAG_SECONDS`). So one that was made long before it ended may be passed too early: begin again from
    `FIRST` now and then.
    """
    lag = min(LAG_SECONDS, seconds / 20)
    row = await link.row("prune_jobs", status=str(status), after=after, seconds=seconds, lag=lag, look=_LOOK * n, n=n)
    return Pruned(0, after, at_end=True) if row is None else Pruned(row["deleted"], row["reached"], row["at_end"])


async def prune_workers(link: Link, *, seconds: float, n: int) -> int:
    """Deletes up to `n` worker rows that died more than `seconds` ago."""
    return len(await link.fetch("prune_workers", seconds=seconds, n=n))


async def prune_audit(link: Link, *, seconds: float, n: int) -> int:
    """Deletes up to `n` entries of the audit log that are older than `seconds`, oldest first."""
    return len(await link.fetch("prune_audit", seconds=seconds, n=n))


async def prune_keys(link: Link, *, seconds: float, n: int) -> int:
    """Looks at up to `n` idempotency keys whose time to be looked at has come; the number it looked at."""
    row = await link.row("prune_keys", seconds=seconds, n=n)
    return 0 if row is None else row["seen"]
