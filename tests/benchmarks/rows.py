"""The table that a run fills: what is measured, in which unit, and what it is held against. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.figures import Limit, Quantity, Row, Sense, Series

GROUPS: Final = (
    "drain",
    "fleet",
    "submit",
    "guarded",
    "bulk",
    "pickup",
    "backlog",
    "redis",
    "recovery",
    "memory",
    "slots",
    "rescue",
    "history",
)
"""What `--only` takes, in the order of a run: what takes longest comes last."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row before it is measured."""

    title: str
    unit: str
    against: str = ""
    gate: Limit | None = None
    aim: Limit | None = None


def _limit(of: Quantity, sense: Sense, number: float) -> Limit:
    return Limit(of, sense, number)


_SAME: Final = _limit("ratio", "at least", 0.9)

LINES: Final[Mapping[str, Line]] = {
    "drain.arq": Line(
        "drain of no-op jobs, one worker process",
        "jobs/s",
        "stock arq at its defaults",
        _limit("ratio", "at least", 10),
        _limit("value", "at least", 15_000),
    ),
    "drain.arq_tuned": Line(
        "the same",
        "jobs/s",
        "arq with 100 jobs at a time, polling every 10 ms",
        aim=_limit("ratio", "at least", 10),
    ),
    "drain.pgqueuer": Line("the same", "jobs/s", "pgqueuer", aim=_limit("ratio", "at least", 1)),
    "drain.worker_cpu": Line(
        "CPU of the worker a job",
        "µs",
        "stock arq at its defaults",
        _limit("ratio", "at most", 0.1),
        _limit("value", "at most", 50),
    ),
    "drain.postgres_cpu": Line(
        "CPU of PostgreSQL a job, claim and finish", "µs", "pgqueuer", aim=_limit("value", "at most", 40)
    ),
    "fleet.rate": Line(
        "drain, {processes} worker processes", "jobs/s", "one worker process", aim=_limit("ratio", "at least", 1)
    ),
    "fleet.deadlocks": Line("deadlocks in those drains", "", gate=_limit("value", "at most", 0)),
    "submit.unkeyed": Line(
        "submit, one job a request, one API process",
        "requests/s",
        "an ordinary route of the same app that does nothing",
        _limit("ratio", "at least", 0.5),
        _limit("ratio", "at least", 0.7),
    ),
    "submit.keyed": Line(
        "the same with an idempotency key each",
        "requests/s",
        "an ordinary route of the same app that does nothing",
        _limit("ratio", "at least", 0.35),
        _limit("ratio", "at least", 0.7),
    ),
    "submit.floor": Line(
        "submit without a key, again",
        "requests/s",
        "a route of the same kind that does nothing",
        aim=_limit("ratio", "at least", 0.5),
    ),
    "guarded.unkeyed": Line(
        "submit with an API key, and limits of the key, the tenant and its queue",
        "requests/s",
        "without authentication and limits",
        _limit("ratio", "at least", 0.8),
    ),
    "guarded.keyed": Line(
        "the same with an idempotency key each",
        "requests/s",
        "without authentication and limits",
        _limit("ratio", "at least", 0.8),
    ),
    "bulk.rate": Line(
        "submit in batches of {batch}",
        "jobs/s",
        "a bare INSERT … unnest of the same rows",
        _limit("ratio", "at least", 0.3),
        _limit("value", "at least", 20_000),
    ),
    "pickup.p50": Line(
        "pickup, {workers} idle workers: 202 to the first line of the task, median",
        "ms",
        "stock arq at its defaults, one idle worker",
        _limit("ratio", "at most", 1 / 50),
        _limit("value", "at most", 3),
    ),
    "pickup.several": Line("the same", "ms", "stock arq at its defaults, {workers} idle workers"),
    "pickup.p99": Line(
        "the same, 99th percentile",
        "ms",
        "stock arq at its defaults, one idle worker",
        aim=_limit("value", "at most", 10),
    ),
    "pickup.woken": Line("workers woken a job", "", aim=_limit("value", "at most", 1.1)),
    "backlog.rate": Line("drain with {waiting} jobs waiting", "jobs/s", "{few} waiting", _SAME),
    "history.claim": Line("claim and finish with {history} finished jobs", "jobs/s", "{base} finished", _SAME),
    "history.submit": Line("submit with {history} finished jobs", "requests/s", "{base} finished", _SAME),
    "history.get": Line("read a job with {history} finished jobs", "requests/s", "{base} finished", _SAME),
    "history.list": Line("list 50 jobs with {history} finished jobs", "requests/s", "{base} finished", _SAME),
    "redis.memory": Line(
        "Redis memory for the hints of {waiting} waiting jobs", "MB", aim=_limit("value", "at most", 8)
    ),
    "redis.worst": Line("the same where they fill all three queues, now and later", "MB"),
    "recovery.flush": Line("longest wait of a job around FLUSHALL", "s", aim=_limit("value", "at most", 2)),
    "recovery.restart": Line("longest wait of a job around a restart of Redis", "s", aim=_limit("value", "at most", 2)),
    "memory.api": Line("memory of an API process after load", "MB", aim=_limit("value", "at most", 120)),
    "memory.worker": Line("memory of a worker process after load", "MB", aim=_limit("value", "at most", 120)),
    "slots.cpu": Line(
        "CPU of a worker whose slots are full of long jobs", "% of a core", aim=_limit("value", "at most", 1.5)
    ),
    "rescue.seconds": Line(
        "rescue after kill -9 of the leading worker{lease}", "s", aim=_limit("value", "at most", 40)
    ),
}


def row(
    key: str,
    value: Series,
    baseline: Series | None = None,
    *,
    notes: tuple[str, ...] = (),
    words: Mapping[str, str] | None = None,
) -> Row:
    """The measured row. `words` fill the gaps of its title."""
    line = LINES[key]
    return Row(
        key=key,
        title=line.title.format_map(words or {}),
        unit=line.unit,
        value=value,
        baseline=baseline,
        against=line.against.format_map(words or {}) if baseline is not None else "",
        gate=line.gate,
        aim=line.aim,
        notes=notes,
    )


def unknown_groups(names: list[str]) -> list[str]:
    """Those of `names` that are no group."""
    return [name for name in names if name not in GROUPS]
