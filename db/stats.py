"""Figures over jobs, each by a statement whose cost is bounded however many jobs there are.

What has ended is counted by the leader (`db.rollups`) up to a mark; a look adds what ended since. What waits and what runs
stands in small tables of its own and is counted there, up to a bound. Figures are of the installation, all tenants together:
queues and workers are shared by them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from db.engine import Link
from db.lifecycle import FINAL, JobStatus
from db.queues import Depth, Running

ARRIVED_SAMPLE = 5_000
"""Newest jobs that arrival rates look at."""
ENDED_SAMPLE = 4_000
"""Jobs that ended since the mark and are looked at; the mark is about 5 s behind."""
WAITING_SAMPLE = 2_000
"""Waiting jobs of which it is read whether they have failed before."""
_BINS_A_DOUBLING = 8


@dataclass(frozen=True, slots=True)
class Arrived:
    """Submits to one queue. `per_second` over the last minute, or over what the sample reaches back to."""

    pool: str
    priority: str
    per_second: float
    last_5_minutes: int
    exact: bool
    """The sample reaches back over the whole window."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Jobs of one task and queue that ended in the last five minutes, cancelled ones too: `ended`, and `last_minute`."""

    pool: str
    priority: str
    task: str
    succeeded: int
    failed: int
    ended: float
    last_minute: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, over jobs that ended in the last five minutes, within 5 %; None where none did."""

    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of final jobs. `whole`: nothing that has ended is missing from it."""

    totals: Mapping[JobStatus, int]
    finished: list[Finished]
    latencies: Latencies
    whole: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs by status; `estimated` says that some of these are not exact."""

    jobs: dict[JobStatus, int]
    estimated: bool


async def arrived(link: Link) -> list[Arrived]:
    """Submits by queue."""
    found = []
    for row in await link.fetch("arrived_recently", sample=ARRIVED_SAMPLE):
        # a full sample that begins within the window stands for a shorter time, with the same rate
        whole = row["looked_at"] < ARRIVED_SAMPLE
        reach = max(row["oldest_seconds"], 1e-3)
        minute = 60.0 if whole else min(60.0, reach)
        exact = whole or reach >= 300.0
        submitted = row["last_5_minutes"] * (1.0 if exact else 300.0 / reach)
        found.append(Arrived(row["pool"], row["priority"], row["last_minute"] / minute, round(submitted), exact))
    return found


def held_to_what_is_there(
    arrived: Iterable[Arrived], depths: Sequence[Depth], running: Sequence[Running], ended: Ended
) -> list[Arrived]:
    """Estimates of arrivals, no larger than what can have arrived: it waits, runs, or has ended since. Pure.

    A sample that is full of one burst knows nothing of the time before, and would take the burst's pace for that of the
    whole window.
    """
    found = []
    for one in arrived:
        here = (one.pool, one.priority)
        waiting = [row for row in depths if (row.pool, row.priority) == here]
        if one.exact or not ended.whole or not all(row.exact for row in waiting):
            found.append(one)
            continue
        there = sum(row.due + row.scheduled for row in waiting)
        there += sum(row.running for row in running if (row.pool, row.priority) == here)
        gone = [row for row in ended.finished if (row.pool, row.priority) == here]
        per_second = min(one.per_second, (there + sum(row.last_minute for row in gone)) / 60.0)
        last_5_minutes = min(one.last_5_minutes, round(there + sum(row.ended for row in gone)))
        found.append(replace(one, per_second=per_second, last_5_minutes=last_5_minutes))
    return found


async def ended(link: Link) -> Ended:
    """Final jobs by status, and the ends and times of the last five minutes."""
    mark = await link.row("rollup_mark")
    if mark is None:
        raise RuntimeError("no row in rollup_marks, which a migration has put there")
    rows = await link.fetch("ended_figures", since=mark["folded_until"], sample=ENDED_SAMPLE)
    totals = dict.fromkeys((status for status in JobStatus if status in FINAL), 0)
    bins: dict[str, dict[int, float]] = {"wait": {}, "run": {}}
    recent: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
    whole = True
    for row in rows:
        match row["part"]:
            case "looked":
                whole = row["jobs"] < ENDED_SAMPLE
            case "total":
                totals[JobStatus(row["status"])] = max(0, round(row["jobs"]))
            case "recent":
                here = recent.setdefault((row["pool"], row["priority"], row["task"]), {})
                here[row["status"]] = (row["jobs"], row["last_minute"])
            case kind:
                bins[kind][row["bin"]] = row["jobs"]
    return Ended(totals, [_finished(*key, ends) for key, ends in sorted(recent.items())], latencies(bins), whole)


def _finished(pool: str, priority: str, task: str, ends: Mapping[str, tuple[float, float]]) -> Finished:
    nothing = (0.0, 0.0)
    return Finished(
        pool,
        priority,
        task,
        succeeded=round(ends.get(JobStatus.SUCCESS, nothing)[0]),
        failed=round(ends.get(JobStatus.FAILED, nothing)[0]),
        ended=sum(jobs for jobs, _ in ends.values()),
        last_minute=sum(last_minute for _, last_minute in ends.values()),
    )


def latencies(bins: Mapping[str, Mapping[int, float]]) -> Latencies:
    """Medians and 95th percentiles of two histograms, `wait` and `run`: bin → jobs. Pure."""
    wait, run = bins["wait"], bins["run"]
    return Latencies(percentile(wait, 0.5), percentile(wait, 0.95), percentile(run, 0.5), percentile(run, 0.95))


def percentile(bins: Mapping[int, float], share: float) -> float | None:
    """The seconds that `share` of a histogram's jobs stay within, as the middle of their bin; None of an empty one. Pure."""
    left = share * math.fsum(bins.values())
    for number in sorted(bins):
        left -= bins[number]
        if left <= 0:
            return 0.0005 if number < 0 else 0.001 * 2.0 ** ((number + 0.5) / _BINS_A_DOUBLING)
    return None


async def counts(link: Link, final: Ended, depths: Iterable[Depth]) -> Counts:
    """Jobs by status, of what is known of the final ones and of the queues already."""
    jobs = dict.fromkeys(JobStatus, 0) | dict(final.totals)
    exact = final.whole
    running = await link.row("running_count")
    jobs[JobStatus.RUNNING] = 0 if running is None else running["running"]
    row = await link.row("waiting_statuses", sample=WAITING_SAMPLE)
    if row is not None:
        pending, retrying = row["pending"], row["retrying"]
        if row["looked"] >= WAITING_SAMPLE:
            exact = False
            waiting = max(row["looked"], sum(depth.due + depth.scheduled for depth in depths))
            share = retrying / max(1, pending + retrying) if row["share"] is None else row["share"]
            retrying = round(waiting * share)
            pending = waiting - retrying
        jobs[JobStatus.PENDING], jobs[JobStatus.RETRYING] = pending, retrying
    return Counts(jobs, estimated=not exact)
