"""What is known after a run in which every promise was kept, for tests to break."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from service.chaos.evidence import Event, Evidence, JobId, JobRow, Life
from service.chaos.ledger import Line, What
from service.chaos.record import Outcome, Records, Request, Seen

JOB, OTHER = JobId("job-1"), JobId("job-2")
NOW = 1_000_000.0
"""The time of day at which CLOCK_MONOTONIC says 0."""


def line(what: What, at: float, *, attempt: int = 1, job: str = JOB, image: str = "", note: str = "") -> Line:
    """A line of the ledger."""
    told = repr(NOW) if what is What.START and not note else note
    return Line(what, job, attempt, 100 + attempt, 1, image or f"image-{attempt}", at, NOW + at, told)


def ran(attempt: int, begin: float, end: float, note: str = "ok") -> list[Line]:
    """An attempt from its start to its end."""
    return [
        line(What.START, begin, attempt=attempt),
        line(What.TICK, (begin + end) / 2, attempt=attempt),
        line(What.END, end, attempt=attempt, note=note),
    ]


def rescued(attempt: int, at: float) -> Event:
    """The end of an attempt whose worker fell silent."""
    return Event(NOW + at, "rescued", "RETRYING", attempt, f"worker-{attempt}", {"charged": True})


def life(who: str = "worker-1", **fields: Any) -> Life:
    """A process that was drained at the end of the run."""
    given: dict[str, Any] = {"ended": 50.0, "code": 0, "told": ["SIGTERM"]} | fields
    return Life(who, 0, 101, Path("log"), 0.0, **given)


def request(token: str = "r1", job: str = JOB, **fields: Any) -> Request:
    """A request that was accepted."""
    given: dict[str, Any] = {"outcome": Outcome.ACCEPTED, "ids": (job,), "delays": (0.0,), "tries": 1} | fields
    return Request(token, (token,), **given)


def good() -> Evidence:
    """Two jobs: one lost its first worker and succeeded in its second attempt, one was cancelled while it waited."""
    row = JobRow(
        id=JOB,
        token="r1",
        task="chaos.sleep",
        status="SUCCESS",
        attempt=2,
        crashes=1,
        key="key-r1",
        created_at=NOW,
        finished_at=NOW + 12.5,
        result={"attempt": 2, "image": "image-2"},
        errors=({"attempt": 1, "kind": "lost", "type": "WorkerLost", "message": "it died"},),
    )
    other = JobRow(id=OTHER, token="r2", task="chaos.quick", status="CANCELLED", cancelled_by="client")
    seen = Seen(OTHER, "CANCELLED", 0, 0, 3.0, 3.1, "cancel")
    return Evidence(
        records=Records(requests=[request(key="key-r1"), request("r2", OTHER)], seen=[seen]),
        rows={JOB: row, OTHER: other},
        events={JOB: [rescued(1, 8.0)]},
        lines=[
            line(What.START, 1.0),
            line(What.TICK, 2.0),
            line(What.BOOT, 9.0, attempt=0, job="-"),
            *ran(2, 10.0, 12.0),
        ],
        lives=[life()],
        dead_at={"worker-1": NOW + 8.0},
        hinted=frozenset({OTHER}),
    )


def change(evidence: Evidence, job: JobId = JOB, **fields: Any) -> None:
    """Stores something else."""
    evidence.rows[job] = replace(evidence.rows[job], **fields)
