"""The life cycle of a job, as one table.

Owns the statuses and the edges between them; imports nothing but the standard library. Each edge is carried out by
the SQL statements named here (`db/sql/<statement>.sql`), and by nothing else. A test holds this table, the headers
of those files and `docs/lifecycle.md` against each other.
"""

from dataclasses import dataclass
from enum import StrEnum


class JobStatus(StrEnum):
    """What PostgreSQL stores in `jobs.status`."""

    WAITING = "WAITING"
    """Has unfinished dependencies."""
    PENDING = "PENDING"
    """Waits and has never failed; may start at `run_at`."""
    RUNNING = "RUNNING"
    """Held by a live worker under attempt `attempt`."""
    RETRYING = "RETRYING"
    """Waits after a failure or a crash; may start again at `run_at`."""
    SUCCESS = "SUCCESS"
    """Final."""
    FAILED = "FAILED"
    """Final; the dead letter is the view over these."""
    CANCELLED = "CANCELLED"
    """Final; `cancelled_by` and `cancel_reason` say why."""


FINAL = frozenset({JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED})
"""Statuses that nothing but a replay leaves."""

CLAIMABLE = frozenset({JobStatus.PENDING, JobStatus.RETRYING})
"""Statuses under which a job stands in `ready`."""


class Priority(StrEnum):
    """The three queues of a pool, most urgent first."""

    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class ErrorKind(StrEnum):
    """Why an attempt ended badly (`errors[].kind`)."""

    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"
    LOST = "lost"
    PAYLOAD = "payload"
    RESULT = "result"


class CancelledBy(StrEnum):
    """Who ended a job as CANCELLED (`cancelled_by`)."""

    CLIENT = "client"
    TASK = "task"
    EXPIRED = "expired"
    DEPENDENCY = "dependency"
    WORKFLOW = "workflow"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Edge:
    """One way from a status to another, and the statements that walk it."""

    name: str
    sources: frozenset[JobStatus]
    targets: frozenset[JobStatus]
    statements: tuple[str, ...]


def _edge(name: str, sources: str, targets: str, *statements: str) -> Edge:
    return Edge(
        name,
        frozenset(JobStatus(word) for word in sources.split()),
        frozenset(JobStatus(word) for word in targets.split()),
        statements or (name,),
    )


TRANSITIONS: tuple[Edge, ...] = (
    _edge("claim", "PENDING RETRYING", "RUNNING", "claim_by_id", "claim_by_head"),
    _edge("succeed", "RUNNING", "SUCCESS"),
    _edge("fail", "RUNNING", "RETRYING FAILED CANCELLED"),
    _edge("crash", "RUNNING", "RETRYING FAILED CANCELLED"),
    _edge("snooze", "RUNNING", "PENDING RETRYING CANCELLED"),
    _edge("give_back", "RUNNING", "PENDING RETRYING FAILED CANCELLED"),
    _edge("cancel_running", "RUNNING", "CANCELLED"),
    _edge("rescue", "RUNNING", "PENDING RETRYING FAILED CANCELLED"),
    _edge("cancel", "WAITING PENDING RETRYING", "CANCELLED"),
    _edge("expire", "WAITING PENDING RETRYING", "CANCELLED"),
    _edge("replay", "FAILED CANCELLED", "PENDING"),
)
"""Every edge. `submit` makes PENDING out of nothing and is no edge; `run_now` and `edit` change no status."""


def runs_isolated(crashes: int, max_crashes: int) -> bool:
    """Whether one more crash is the last that a job may have, so that it runs alone in a process.

    A job that may not crash at all (`max_crashes` 1) never does: nothing is known against it when it starts. The same as
    `db/sql/parts/isolated.sql`.
    """
    return max_crashes > 1 and crashes >= max_crashes - 1
