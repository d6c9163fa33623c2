"""The walk over one job's history: legal ways pass, and every kind of illegal one is noticed."""

from typing import Any

import pytest

from service.chaos.evidence import Event, JobId, JobRow
from service.chaos.path import FREE_RESCUES, walk

JOB = JobId("job")


def row(status: str, attempt: int = 0, **fields: Any) -> JobRow:
    """A row at the end."""
    return JobRow(id=JOB, token="r1", status=status, attempt=attempt, **{"task": "chaos.quick", **fields})


def event(name: str, status: str, attempt: int, **detail: Any) -> Event:
    """A row of its history."""
    return Event(at=0.0, name=name, status=status, attempt=attempt, worker="w", detail=detail)


def failed(attempt: int, status: str = "RETRYING", kind: str = "error") -> Event:
    return event("failed", status, attempt, kind=kind)


def rescued(attempt: int, status: str = "RETRYING", *, charged: bool = True) -> Event:
    return event("rescued", status, attempt, charged=charged)


def replayed(attempt: int, undone: str) -> Event:
    return Event(at=0.0, name="replayed", status="PENDING", attempt=attempt, worker="w", detail={"status": undone})


LEGAL = {
    "a success": (row("SUCCESS", 1), []),
    "cancelled while it waited": (row("CANCELLED"), []),
    "cancelled by its task": (row("CANCELLED", 1), []),
    "cancelled while it ran": (row("CANCELLED", 1), [event("cancel-requested", "RUNNING", 1)]),
    "a finish beats a cancel": (row("SUCCESS", 1), [event("cancel-requested", "RUNNING", 1)]),
    "a failure, a snooze, a success": (row("SUCCESS", 3, failures=1), [failed(1), event("snoozed", "RETRYING", 2)]),
    "a snooze before any failure": (row("SUCCESS", 2), [event("snoozed", "PENDING", 1)]),
    "all failures spent": (row("FAILED", 2, failures=2, max_attempts=2), [failed(1), failed(2, "FAILED")]),
    "final at once": (row("FAILED", 1, failures=1, task="chaos.fail"), [failed(1, "FAILED")]),
    "a result that cannot be stored": (row("FAILED", 1, failures=1), [failed(1, "FAILED", "result")]),
    "a cancel beats a failure": (row("CANCELLED", 1, failures=1), [failed(1, "CANCELLED")]),
    "rescued": (row("SUCCESS", 2, crashes=1), [rescued(1)]),
    "rescued, and may run once only": (row("FAILED", 1, crashes=1, max_crashes=1), [rescued(1, "FAILED")]),
    "a child that died": (row("SUCCESS", 2, crashes=1), [failed(1, kind="crash")]),
    "drained": (row("SUCCESS", 2), [event("given-back", "PENDING", 1)]),
    "drained, and may run once only": (row("FAILED", 1, crashes=1, max_crashes=1), [event("given-back", "FAILED", 1)]),
    "five free rescues of an isolated job": (
        row("SUCCESS", FREE_RESCUES + 3, crashes=2),
        [rescued(1), rescued(2), *(rescued(n, charged=False) for n in range(3, FREE_RESCUES + 3))],
    ),
    "an isolated job rescued until it was charged": (
        row("FAILED", FREE_RESCUES + 3, crashes=3),
        [
            *(rescued(1), rescued(2)),
            *(rescued(n, charged=False) for n in range(3, FREE_RESCUES + 3)),
            rescued(FREE_RESCUES + 3, "FAILED"),
        ],
    ),
    "replayed after a failure": (
        row("SUCCESS", 2, replays=1, max_attempts=1),
        [failed(1, "FAILED"), replayed(1, "FAILED")],
    ),
    "replayed after a cancel that left no trace": (row("SUCCESS", 1, replays=1), [replayed(0, "CANCELLED")]),
    "replayed after a cancel while it ran": (row("SUCCESS", 2, replays=1), [replayed(1, "CANCELLED")]),
    "edited while it waited": (row("SUCCESS", 1), [event("edited", "PENDING", 0)]),
}


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_way_passes(name: str) -> None:
    stored, events = LEGAL[name]
    assert walk(stored, events) == []


ILLEGAL = {
    "an attempt is missing": ("I3", row("SUCCESS", 3, failures=1), [failed(1)]),
    "an attempt ended twice": ("I3", row("SUCCESS", 2, failures=2), [failed(1), failed(1)]),
    "the history skips an attempt": ("I3", row("SUCCESS", 4, failures=2), [failed(1), failed(3)]),
    "the history goes back": ("I3", row("SUCCESS", 3, failures=3), [failed(1), failed(2), failed(1)]),
    "it failed after it had ended": (
        "I5",
        row("FAILED", 2, failures=2, max_attempts=1),
        [failed(1, "FAILED"), failed(2, "FAILED")],
    ),
    "it is a success after a failure that was final": (
        "I8",
        row("SUCCESS", 2, failures=1, max_attempts=1),
        [failed(1, "FAILED")],
    ),
    "it was asked to cancel after it had ended": (
        "I5",
        row("FAILED", 1, failures=1, max_attempts=1),
        [failed(1, "FAILED"), event("cancel-requested", "RUNNING", 1)],
    ),
    "it is FAILED and nothing says why": ("I8", row("FAILED", 1, failures=1), []),
    "it failed with tries left": ("I6", row("FAILED", 1, failures=1), [failed(1, "FAILED")]),
    "it went on without tries left": (
        "I6",
        row("SUCCESS", 3, failures=2, max_attempts=2),
        [failed(1), failed(2)],
    ),
    "it was rescued to death with crashes left": ("I6", row("FAILED", 1, crashes=1), [rescued(1, "FAILED")]),
    "it was rescued once too often": ("I6", row("SUCCESS", 2, crashes=1, max_crashes=1), [rescued(1)]),
    "a sixth rescue was free": (
        "I6",
        row("SUCCESS", FREE_RESCUES + 4, crashes=2),
        [rescued(1), rescued(2), *(rescued(n, charged=False) for n in range(3, FREE_RESCUES + 4))],
    ),
    "the first rescue was free": ("I6", row("SUCCESS", 2), [rescued(1, "PENDING", charged=False)]),
    "an isolated job was charged": (
        "I6",
        row("FAILED", 2, crashes=2, max_crashes=2),
        [rescued(1), rescued(2, "FAILED")],
    ),
    "a failure was not counted": ("I6", row("SUCCESS", 2), [failed(1)]),
    "a replay was not counted": ("I6", row("SUCCESS", 1), [replayed(0, "CANCELLED")]),
    "a drain ended it": ("I6", row("FAILED", 1, crashes=1), [event("given-back", "FAILED", 1)]),
    "a drain was charged": ("I8", row("SUCCESS", 2), [event("given-back", "RETRYING", 1)]),
    "a failure left it without a mark": ("I8", row("SUCCESS", 2, failures=1), [failed(1, "PENDING")]),
    "a snooze ended it": ("I8", row("FAILED", 1), [event("snoozed", "FAILED", 1)]),
    "a success was replayed": ("I8", row("SUCCESS", 2, replays=1), [failed(1), replayed(1, "FAILED")]),
    "it was edited while it ran": (
        "I8",
        row("SUCCESS", 1),
        [event("cancel-requested", "RUNNING", 1), event("edited", "RUNNING", 1)],
    ),
    "somebody repaired it": ("I8", row("SUCCESS", 1), [event("repaired", "PENDING", 0)]),
    "it waits for nothing": ("I8", row("RETRYING", 0), []),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_way_is_noticed(name: str) -> None:
    rule, stored, events = ILLEGAL[name]
    found = walk(stored, events)
    assert rule in {one.rule for one in found}, found
    assert {one.job for one in found} == {JOB}
