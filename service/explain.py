"""Why a job is not running, in words and fields. Pure: `service.api.explain` reads what is needed.

A reason has a `code`, a `message` and the fields that show it. They are ordered: what comes first must be over before the
rest matters, so the first message is the summary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from db.lifecycle import CLAIMABLE, JobStatus, runs_isolated
from db.records import JobRecord
from db.standing import BOUND, Holds, Server
from service.representation import moment_text

Reason = dict[str, Any]

PICKUP_SECONDS: Final = 1.0
"""A free worker starts a due job within this, even without Redis."""
_P90: Final = 1.2815515655446004
"""The standard normal quantile of 0.9."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a job at one moment."""

    job: JobRecord
    queue: str
    holds: Holds
    servers: Sequence[Server]
    """Live workers that have its task, of whatever pool."""
    before: int
    """Due jobs that go before it, up to `BOUND`."""
    drain_per_second: float | None
    """Ends in its queue, of the last minute."""
    redis_away: bool

    @property
    def at(self) -> datetime:
        """The database's time."""
        return self.holds.at

    @property
    def serving(self) -> list[Server]:
        """The workers that may start it."""
        here = (self.job.pool, self.job.priority)
        return [one for one in self.servers if one.pool == here[0] and here[1] in one.priorities and not one.drains]

    @property
    def free(self) -> int:
        """Slots that nothing runs in, of those workers."""
        return sum(max(0, one.slots - one.running) for one in self.serving)

    @property
    def is_due(self) -> bool:
        """Whether it may start by its time."""
        return self.job.status in CLAIMABLE and self.job.run_at <= self.at

    @property
    def is_held(self) -> bool:
        """Whether somebody must do something before it can start."""
        paused = self.holds.queue_paused_at or self.holds.task_paused_at
        return self.job.status == JobStatus.WAITING or paused is not None or not self.serving


def explanation(facts: Facts) -> dict[str, Any]:
    """The document of `GET /v1/jobs/{id}/explain`."""
    found = list(reasons(facts))
    waits = facts.job.status in CLAIMABLE
    stands = waits and facts.is_due and not facts.is_held
    return {
        "job_id": str(facts.job.id),
        "status": facts.job.status.value,
        "running": facts.job.status == JobStatus.RUNNING,
        "summary": found[0]["message"],
        "reasons": found,
        "position": facts.before + 1 if stands else None,
        "position_exact": facts.before < BOUND,
        "drain_per_second": facts.drain_per_second if waits else None,
        "estimated_start": _estimate(facts) if waits else None,
        "at": moment_text(facts.at),
    }


def reasons(facts: Facts) -> Iterator[Reason]:
    """What stands in the job's way, or how it stands; at least one, the most important first."""
    match facts.job.status:
        case JobStatus.RUNNING:
            yield from _running(facts)
        case JobStatus.SUCCESS | JobStatus.FAILED | JobStatus.CANCELLED:
            yield _final(facts.job)
        case _:
            yield from _waiting(facts)


def _reason(code: str, message: str, **fields: Any) -> Reason:
    shown = {name: moment_text(value) if isinstance(value, datetime) else value for name, value in fields.items()}
    return {"code": code, "message": message, **shown}


def _final(job: JobRecord) -> Reason:
    how = {
        JobStatus.SUCCESS: "The job has succeeded.",
        JobStatus.FAILED: "The job has failed for good; a replay puts it back.",
        JobStatus.CANCELLED: f"The job was cancelled by {job.cancelled_by}; a replay puts it back.",
    }
    return _reason(
        "final", how[job.status], finished_at=job.finished_at, cancelled_by=job.cancelled_by, reason=job.cancel_reason
    )


def _running(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    started = job.started_at or facts.at
    if job.cancel_requested_at is not None:
        yield _reason(
            "cancel-requested",
            "The job runs, and its worker was asked to stop it.",
            cancel_requested_at=job.cancel_requested_at,
            reason=job.cancel_reason,
        )
    yield _reason(
        "running",
        f"The job has been running for {_span(facts.at - started)}, in attempt {job.attempt}.",
        since=started,
        worker=str(job.worker_id),
        attempt=job.attempt,
        timeout_left=round(max(0.0, job.timeout - (facts.at - started).total_seconds()), 3),
    )
    yield from _isolated(job)


def _waiting(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    if job.depends_on or job.status == JobStatus.WAITING:
        yield _reason(
            "dependencies", "The job waits for other jobs to end.", depends_on=[str(one) for one in job.depends_on]
        )
    yield from _time(facts)
    yield from _pauses(facts)
    if not facts.serving:
        yield _no_worker(facts)
    elif facts.is_due and not facts.is_held:
        yield from _queue(facts)
    yield from _expiry(facts)
    yield from _isolated(job)
    if facts.redis_away:
        yield _reason(
            "redis-away",
            f"Redis cannot be reached: workers find due jobs by looking, within {PICKUP_SECONDS:g} second.",
            pickup_seconds=PICKUP_SECONDS,
        )


def _time(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    if job.expires_at is not None and job.expires_at <= facts.at:
        yield _reason(
            "expired",
            "The job has not started before its expires_at and is about to be cancelled.",
            expires_at=job.expires_at,
        )
    if job.status in CLAIMABLE and not facts.is_due:
        left = job.run_at - facts.at
        code, why = ("scheduled", "is due") if job.status == JobStatus.PENDING else ("retry-wait", "is tried again")
        yield _reason(
            code,
            f"The job {why} in {_span(left)}.",
            run_at=job.run_at,
            seconds=round(left.total_seconds(), 3),
            failures=job.failures,
            crashes=job.crashes,
        )


def _expiry(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    if job.expires_at is not None and job.expires_at > facts.at:
        left = job.expires_at - facts.at
        yield _reason(
            "expires",
            f"The job is cancelled if it has not started in {_span(left)}.",
            expires_at=job.expires_at,
            seconds=round(left.total_seconds(), 3),
        )


def _pauses(facts: Facts) -> Iterator[Reason]:
    holds = facts.holds
    if holds.queue_paused_at is not None:
        yield _reason(
            "queue-paused",
            f"The queue {facts.queue} is paused{_because(holds.queue_reason)}.",
            queue=facts.queue,
            since=holds.queue_paused_at,
            reason=holds.queue_reason,
        )
    if holds.task_paused_at is not None:
        yield _reason(
            "task-paused",
            f"The task {facts.job.task} is paused{_because(holds.task_reason)}.",
            task=facts.job.task,
            since=holds.task_paused_at,
            reason=holds.task_reason,
        )


def _no_worker(facts: Facts) -> Reason:
    job = facts.job
    elsewhere = sorted({(one.pool, priority) for one in facts.servers for priority in one.priorities if not one.drains})
    if any(one.drains for one in facts.servers) and not elsewhere:
        why = "those that have the task drain"
    elif elsewhere:
        why = "it is served from " + ", ".join(f"{pool}:{priority}" for pool, priority in elsewhere[:10])
    else:
        why = "no live worker has the task"
    return _reason(
        "no-worker",
        f"No live worker runs {job.task} from the queue {facts.queue}: {why}.",
        task=job.task,
        pool=job.pool,
        priority=job.priority,
        served_from=[{"pool": pool, "priority": priority} for pool, priority in elsewhere],
    )


def _queue(facts: Facts) -> Iterator[Reason]:
    """What a due job waits for that nothing holds."""
    slots, running = (sum(getattr(one, name) for one in facts.serving) for name in ("slots", "running"))
    behind = facts.before >= max(1, facts.free)
    count = f"At least {facts.before}" if facts.before >= BOUND else str(facts.before)
    if behind:
        yield _reason(
            "behind-others",
            f"{count} due jobs of the queue {facts.queue} go before it.",
            queue=facts.queue,
            position=facts.before + 1,
            before=facts.before,
        )
    if facts.free == 0:
        yield _reason(
            "all-slots-busy",
            f"All {slots} slots of the workers that could start it are taken.",
            slots=slots,
            running=running,
        )
    elif not behind:
        yield _reason(
            "next",
            f"Nothing stands in its way: it starts within {PICKUP_SECONDS:g} second.",
            slots=slots,
            slots_free=facts.free,
        )


def _isolated(job: JobRecord) -> Iterator[Reason]:
    if runs_isolated(job.crashes, job.max_crashes):
        yield _reason(
            "isolated",
            f"The job runs alone in a process, because its process has died {job.crashes} times: at most two such jobs "
            "run at once in a worker.",
            crashes=job.crashes,
            max_crashes=job.max_crashes,
        )


def _estimate(facts: Facts) -> dict[str, str | None] | None:
    """When it starts; None where that cannot be said."""
    expired = facts.job.expires_at is not None and facts.job.expires_at <= facts.at
    if facts.is_held or expired:
        return None
    found = start_after(facts.before + 1 - facts.free, facts.drain_per_second)
    if found is None:
        return None
    begin = max(facts.at, facts.job.run_at)
    p50, p90 = (max(begin, facts.at + timedelta(seconds=seconds)) for seconds in found)
    return {"p50": moment_text(p50), "p90": moment_text(max(p90, begin + timedelta(seconds=PICKUP_SECONDS)))}


def start_after(ends: int, per_second: float | None) -> tuple[float, float] | None:
    """Seconds until as many jobs have ended, with a chance of a half and of nine tenths; None where nothing ends.

    Ends are taken for a Poisson process, so the time until the k-th is gamma distributed: its quantiles by Wilson and
    Hilferty, k (1 - 1/(9k) + z / (3 sqrt k))^3 / rate, within 3 % from k = 1 on.
    """
    if ends <= 0:
        return 0.0, PICKUP_SECONDS
    if not per_second:
        return None
    p50, p90 = (ends * (1 - 1 / (9 * ends) + z / (3 * ends**0.5)) ** 3 / per_second for z in (0.0, _P90))
    return p50, p90


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def _span(length: timedelta) -> str:
    """A length of time for people: two units at most."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    return " ".join(_in_units(round(seconds)))


def _in_units(seconds: int) -> Iterable[str]:
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    if seconds:
        parts.append(f"{seconds} s")
    return parts[:2]
