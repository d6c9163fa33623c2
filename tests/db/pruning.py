"""The shipped prune over jobs of any age: those of a test were all made a moment ago, whenever they are said to have ended."""

from typing import Final

from db.engine import Link
from db.lifecycle import JobStatus
from db.retention import FIRST

_AHEAD: Final = -1e9  # seconds: ids are looked at as if they were made decades before the clock of any test


async def prune_jobs(link: Link, status: JobStatus, *, seconds: float, n: int) -> int:
    """How many jobs of a final `status`, ended more than `seconds` ago, were deleted; up to `n`."""
    row = await link.row("prune_jobs", status=str(status), after=FIRST, seconds=seconds, lag=_AHEAD, look=100_000, n=n)
    assert row is not None
    deleted: int = row["deleted"]
    return deleted
