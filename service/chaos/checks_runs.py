"""What really ran against what is stored: I3, I4, I7 and I9. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from db.lifecycle import FINAL
from service.chaos.evidence import Event, Evidence, JobRow, Violation
from service.chaos.ledger import Run, What

CLOCK_SECONDS: Final = 0.02
"""How much two readings of one machine's time of day may disagree while it is being adjusted."""
_ENDS: Final = frozenset({"failed", "snoozed", "given-back", "rescued"})
_OWN_ERRORS: Final = frozenset({"ChaosError", "Fail", "Retry"})
"""Errors of our tasks, whose message names the attempt."""


def an_attempt_starts_once(evidence: Evidence) -> Iterator[Violation]:
    """I3: no attempt's code starts twice or under a number that was never granted; no line is without its start."""
    for job, runs in evidence.runs().items():
        row = evidence.rows.get(job)
        if row is None:
            yield Violation("I3", "it ran and is not stored", job)
            continue
        numbers = [run.attempt for run in runs]
        for number in sorted(set(numbers)):
            if numbers.count(number) > 1:
                yield Violation("I3", f"the code of attempt {number} began {numbers.count(number)} times", job)
        if max(numbers) > row.attempt:
            text = f"the code of attempt {max(numbers)} began, and only {row.attempt} were ever granted"
            yield Violation("I3", text, job)
        for run in runs:
            if run.start.what is not What.START:
                yield Violation("I3", f"attempt {run.attempt} did {run.start.what} without having started", job)


def nothing_late_is_written(evidence: Evidence) -> Iterator[Violation]:
    """I4: what is stored about an attempt is that attempt's own, and nothing about it came after the next had begun."""
    runs = evidence.runs()
    for row in evidence.rows.values():
        mine = runs.get(row.id, [])
        yield from _result_is_its_own(row, mine)
        yield from _errors_are_their_own(row, evidence.events.get(row.id, ()))
        for event in evidence.events.get(row.id, ()):
            later = [run for run in mine if run.attempt > event.attempt and event.name not in ("edited", "replayed")]
            if later and min(run.start.wall for run in later) < event.at - CLOCK_SECONDS:
                text = (
                    f"{event.name!r} of attempt {event.attempt} was written after attempt {later[0].attempt} had begun"
                )
                yield Violation("I4", text, row.id)


def _result_is_its_own(row: JobRow, runs: Sequence[Run]) -> Iterator[Violation]:
    if row.status != "SUCCESS":
        return
    said = row.result.get("attempt") if isinstance(row.result, dict) else None
    if said != row.attempt:
        yield Violation("I4", f"its result says attempt {said}, and it is stored under attempt {row.attempt}", row.id)
    ends = [run.end for run in runs if run.attempt == row.attempt and run.end is not None]
    if not any(end.note == "ok" for end in ends):
        yield Violation("I4", f"it is SUCCESS in attempt {row.attempt}, which never came to a good end", row.id)
    elif row.finished_at is not None and min(end.wall for end in ends) > row.finished_at + CLOCK_SECONDS:
        yield Violation("I4", f"it was SUCCESS before attempt {row.attempt} had ended", row.id)


def _errors_are_their_own(row: JobRow, events: Sequence[Event]) -> Iterator[Violation]:
    ended = {event.attempt for event in events if event.name in _ENDS}
    numbers = [error["attempt"] for error in row.errors]
    if numbers != sorted(set(numbers)):
        yield Violation("I4", f"its errors are about attempts {numbers}, in this order", row.id)
    for error in row.errors:
        if error["attempt"] not in ended:
            yield Violation(
                "I4", f"an error is about attempt {error['attempt']}, whose end is not in its history", row.id
            )
        if error["type"] in _OWN_ERRORS and error["message"] != f"attempt {error['attempt']}":
            text = f"the error of {error['message']!r} is stored under attempt {error['attempt']}"
            yield Violation("I4", text, row.id)


def at_most_once(evidence: Evidence) -> Iterator[Violation]:
    """I6: a job with `max_crashes` 1 whose code had begun is not put back for free: it ends."""
    runs = evidence.runs()
    for row in evidence.rows.values():
        if row.max_crashes > 1:
            continue
        begun = {run.attempt for run in runs.get(row.id, ())}
        for event in evidence.events.get(row.id, ()):
            if event.name == "given-back" and event.attempt in begun and event.status not in FINAL:
                text = f"it may run once only, and attempt {event.attempt} was given back after its code had begun"
                yield Violation("I6", text, row.id)


def nothing_overlaps(evidence: Evidence) -> Iterator[Violation]:
    """I7: once an attempt has started, no earlier one gives a sign of life, unless its worker's lease was over by then."""
    for job, runs in evidence.runs().items():
        workers = {event.attempt: event.worker for event in evidence.events.get(job, ()) if event.worker is not None}
        for before in runs:
            after = min(
                (run for run in runs if run.attempt > before.attempt), key=lambda run: run.start.at, default=None
            )
            if after is None or before.last.at <= after.start.at:
                continue
            lease_end = evidence.dead_at.get(workers.get(before.attempt, ""))
            if lease_end is None or lease_end > after.start.wall + CLOCK_SECONDS:
                text = (
                    f"attempt {before.attempt} still ran {before.last.at - after.start.at:.3f} s after attempt "
                    f"{after.attempt} had started, and its worker {workers.get(before.attempt)} held its lease"
                )
                yield Violation("I7", text, job)


def nothing_is_early(evidence: Evidence) -> Iterator[Violation]:
    """I9: no code starts before `run_at`: as the attempt was told it, as its history has it, and as its client asked."""
    delays = {
        token: delay
        for request in evidence.records.requests
        for token, delay in zip(request.tokens, request.delays, strict=False)
    }
    for job, runs in evidence.runs().items():
        row = evidence.rows.get(job)
        for run in runs:
            if run.start.what is not What.START:
                continue
            told = float(run.start.note)
            early = told - run.start.wall
            if early > CLOCK_SECONDS:
                yield Violation("I9", f"attempt {run.attempt} began {early:.3f} s before the run_at it was told", job)
            if row is None:
                continue
            bound = _earliest(row, evidence.events.get(job, ()), run.attempt, delays.get(row.token, 0.0))
            if bound is not None and bound - run.start.wall > CLOCK_SECONDS:
                text = f"attempt {run.attempt} began {bound - run.start.wall:.3f} s before its history allowed it"
                yield Violation("I9", text, job)


def _earliest(row: JobRow, events: Sequence[Event], attempt: int, delay: float) -> float | None:
    """When the attempt could begin at the earliest, as its history has it; None where an edit has moved that."""
    bound: float | None = row.created_at + delay
    for event in events:
        if event.attempt >= attempt:
            break
        if event.name == "replayed":
            bound = event.at
        elif event.name == "edited":
            if "run_at" in event.detail.get("before", {}):
                bound = None
        elif event.detail.get("run_at") is not None:
            bound = event.seconds("run_at")
    return bound
