"""Figures over jobs, each by a query whose cost is bounded, exact where that is cheap."""

import json
from dataclasses import dataclass

from db.engine import Link
from db.lifecycle import JobStatus

SAMPLE = 20_000
"""Newest jobs that arrival rates look at."""
FINISHED_SAMPLE = 200_000
"""Jobs of the last five minutes that are counted."""
LATENCY_SAMPLE = 50_000
"""Jobs of the last five minutes whose times are sorted."""
COUNTED_EXACTLY = 100_000
"""Up to so many jobs every status is counted; beyond, SUCCESS and CANCELLED are estimates."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Submits to one queue. `per_second` over the last minute, or over what the sample reaches back to."""

    pool: str
    priority: str
    per_second: float
    last_5_minutes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Jobs of one task and queue that ended in the last five minutes (`last_minute` of them in the last one)."""

    pool: str
    priority: str
    task: str
    succeeded: int
    failed: int
    last_minute: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, over jobs that ended in the last five minutes; None where none did."""

    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs by status; `estimated` says that SUCCESS, CANCELLED and the share of RETRYING are not counted."""

    jobs: dict[JobStatus, int]
    estimated: bool


async def arrived(link: Link, tenant: str) -> list[Arrived]:
    """Submits by queue."""
    found = []
    for row in await link.fetch("arrived_recently", tenant=tenant, sample=SAMPLE):
        # a full sample that begins within the window stands for a shorter time, with the same rate
        whole = row["looked_at"] < SAMPLE
        reach = max(row["oldest_seconds"], 1e-3)
        minute = 60.0 if whole else min(60.0, reach)
        scale = 1.0 if whole or reach >= 300.0 else 300.0 / reach
        found.append(
            Arrived(row["pool"], row["priority"], row["last_minute"] / minute, round(row["last_5_minutes"] * scale))
        )
    return found


async def finished(link: Link, tenant: str) -> list[Finished]:
    """Ends by queue and task."""
    rows = await link.fetch("finished_recently", tenant=tenant, sample=FINISHED_SAMPLE)
    return [Finished(*tuple(row)) for row in rows]


async def latencies(link: Link, tenant: str) -> Latencies:
    """How long jobs waited and ran."""
    row = await link.row("latencies", tenant=tenant, sample=LATENCY_SAMPLE)
    return Latencies(None, None, None, None) if row is None else Latencies(*tuple(row))


async def counts(link: Link, tenant: str) -> Counts:
    """Jobs by status."""
    few = await link.row("job_count_up_to", tenant=tenant, limit=COUNTED_EXACTLY + 1)
    jobs = dict.fromkeys(JobStatus, 0)
    if few is None or few["jobs"] <= COUNTED_EXACTLY:
        for row in await link.fetch("status_counts", tenant=tenant):
            jobs[JobStatus(row["status"])] = row["jobs"]
        return Counts(jobs, estimated=False)
    seen = await link.row("status_estimates", tenant=tenant)
    if seen is not None:
        jobs |= _estimates(seen["jobs"], seen["ready"], seen["running"], seen["failed"], json.loads(seen["shares"]))
    return Counts(jobs, estimated=True)


def _estimates(total: int, ready: int, running: int, failed: int, shares: dict[str, float]) -> dict[JobStatus, int]:
    """Counts from what is counted and from the shares of the last ANALYZE. Pure."""
    waiting = shares.get("PENDING", 0.0) + shares.get("RETRYING", 0.0)
    retrying = round(ready * shares.get("RETRYING", 0.0) / waiting) if waiting else 0
    rest = max(0, total - ready - running - failed)
    ended = {status: shares.get(status.value, 0.0) for status in (JobStatus.SUCCESS, JobStatus.CANCELLED)}
    whole = sum(ended.values()) or 1.0
    return {
        JobStatus.PENDING: ready - retrying,
        JobStatus.RETRYING: retrying,
        JobStatus.RUNNING: running,
        JobStatus.FAILED: failed,
        **{status: round(rest * share / whole) for status, share in ended.items()},
    }
