"""Deleting what has been kept for long enough, a bounded batch a call."""

from db.engine import Link
from db.lifecycle import JobStatus


async def prune_jobs(link: Link, status: JobStatus, *, seconds: float, n: int) -> int:
    """Deletes up to `n` jobs of a final `status` that ended more than `seconds` ago, with their history."""
    return len(await link.fetch("prune_jobs", status=str(status), seconds=seconds, n=n))


async def prune_workers(link: Link, *, seconds: float, n: int) -> int:
    """Deletes up to `n` worker rows that died more than `seconds` ago."""
    return len(await link.fetch("prune_workers", seconds=seconds, n=n))


async def prune_keys(link: Link, *, seconds: float, n: int) -> int:
    """Looks at up to `n` idempotency keys whose time to be looked at has come; the number it looked at."""
    row = await link.row("prune_keys", seconds=seconds, n=n)
    return 0 if row is None else row["seen"]
