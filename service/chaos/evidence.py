"""Everything that is known when a run is over, as plain values: what checkers judge. Pure; times of day are seconds since
1970, and so comparable with each other, because one machine has one clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NewType

from service.chaos.arming import Fired
from service.chaos.ledger import Line, Run, runs
from service.chaos.plan import Fault
from service.chaos.record import Records

JobId = NewType("JobId", str)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A row of `jobs` at the end."""

    id: JobId
    token: str
    """What the client called it; empty where it is nobody's."""
    task: str
    status: str
    tenant: str = ""
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    replays: int = 0
    max_attempts: int = 5
    max_crashes: int = 3
    run_at: float = 0.0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    cancelled_by: str | None = None
    key: str | None = None
    worker: str | None = None
    result: Any = None
    errors: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `history`."""

    at: float
    name: str
    status: str
    attempt: int
    worker: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """A moment of `detail`, in seconds since 1970."""
        return datetime.fromisoformat(self.detail[name]).timestamp()


@dataclass(slots=True)
class Life:
    """One process from its start to its end. Times are CLOCK_MONOTONIC; `told` the signals that the run sent it."""

    who: str
    generation: int
    pid: int
    log: Path
    began: float
    told: list[str] = field(default_factory=list)
    ended: float | None = None
    code: int | None = None
    """As in `subprocess`: minus the signal's number if one ended it."""
    overdue: bool = False
    """It was still there long after SIGTERM."""
    in_service: bool = False
    """It had announced itself when it ended, and had not begun to leave."""
    words: tuple[str, ...] = ()
    """The end of its log."""

    @property
    def is_api(self) -> bool:
        """Whether it served the API."""
        return self.who.startswith("api")


@dataclass(frozen=True, slots=True)
class Happened:
    """What became of a fault. `began` and `ended` are times of day; `what` says whom it met, or why nobody."""

    fault: Fault
    began: float
    ended: float
    really: bool
    what: str


@dataclass(slots=True)
class Evidence:
    """Of one run."""

    records: Records = field(default_factory=Records)
    rows: dict[JobId, JobRow] = field(default_factory=dict)
    events: dict[JobId, list[Event]] = field(default_factory=dict)
    """Oldest first."""
    lines: Sequence[Line] = ()
    lives: Sequence[Life] = ()
    dead_at: dict[str, float] = field(default_factory=dict)
    """Worker → when its lease was over, by its own word or by the reaper's."""
    fired: Sequence[Fired] = ()
    happened: Sequence[Happened] = ()
    hinted: frozenset[str] = frozenset()
    """The members of the queues in Redis."""
    fsck: Sequence[str] = ()
    """Errors of the full consistency check at the end."""
    looks: Sequence[str] = ()
    """Errors of the checks while faults happened."""
    left: Sequence[str] = ()
    """Processes that outlived the member that had started them."""
    unfinished: int = 0
    """Jobs that had not ended when the time for it was up."""
    settled: float = 0.0
    """Seconds from the healing of the last fault until every job had ended."""

    def runs(self) -> dict[JobId, list[Run]]:
        """Job → its runs as the ledger has them, in the order they started."""
        return {JobId(job): each for job, each in runs(self.lines).items()}


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept. `rule` is the checker's, `job` the one it is about, if it is about one."""

    rule: str
    text: str
    job: JobId | None = None
