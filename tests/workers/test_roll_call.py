"""What a process holds, against what PostgreSQL says that it runs."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from db.attempts import Claimed
from db.workers import Held as Row
from workers.attempt import Attempt
from workers.held import Entry, Held
from workers.outcomes import Succeeded
from workers.roll_call import RollCall

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def attempt_of(job_id: UUID, number: int) -> Attempt:
    """An attempt that nothing runs."""
    claimed = Claimed(
        job_id, number, "t", "{}", "default", "default", "default", 0, 0, 5, 3, 60.0, "{}", None, "[]", "{}", NOW, NOW
    )
    return Attempt(claimed, cast("Any", None))


def held(*attempts: Attempt, since: float) -> dict[UUID, Entry]:
    """These, held since then."""
    return {attempt.id: Entry(attempt, since) for attempt in attempts}


def row(attempt: Attempt, *, cancel: bool = False) -> Row:
    """Its row in the answer."""
    return Row(attempt.id, attempt.number, cancel)


def test_a_row_held_at_neither_of_two_calls_is_a_stray_at_the_second() -> None:
    roll_call, stray = RollCall(), attempt_of(uuid4(), 1)
    assert roll_call.compare([row(stray)], {}, sent=1, oldest_claim=None).strays == []
    assert roll_call.compare([row(stray)], {}, sent=2, oldest_claim=None).strays == [row(stray)]


def test_a_claim_begun_before_the_first_call_may_still_bring_the_job() -> None:
    roll_call, stray = RollCall(), attempt_of(uuid4(), 1)
    roll_call.compare([row(stray)], {}, sent=1, oldest_claim=0.5)
    assert roll_call.compare([row(stray)], {}, sent=2, oldest_claim=0.5).strays == []
    assert roll_call.compare([row(stray)], {}, sent=3, oldest_claim=1.5).strays == [row(stray)]


def test_a_row_that_was_held_meanwhile_begins_anew() -> None:
    roll_call, job = RollCall(), attempt_of(uuid4(), 1)
    roll_call.compare([row(job)], {}, sent=1, oldest_claim=None)
    roll_call.compare([row(job)], held(job, since=1.5), sent=2, oldest_claim=None)
    assert roll_call.compare([row(job)], {}, sent=3, oldest_claim=None).strays == []


def test_another_attempt_of_a_job_is_another_row() -> None:
    roll_call, job_id = RollCall(), uuid4()
    roll_call.compare([row(attempt_of(job_id, 1))], {}, sent=1, oldest_claim=None)
    assert roll_call.compare([row(attempt_of(job_id, 2))], {}, sent=2, oldest_claim=None).strays == []


def test_what_was_held_before_the_call_and_is_not_in_its_answer_is_lost() -> None:
    old, new = attempt_of(uuid4(), 1), attempt_of(uuid4(), 1)
    holds = held(old, since=1) | held(new, since=3)
    assert RollCall().compare([], holds, sent=2, oldest_claim=None).lost == [old]
    later = attempt_of(old.id, 2)
    assert RollCall().compare([row(later)], holds, sent=2, oldest_claim=None).lost == [old]


def test_an_attempt_that_has_ended_is_not_lost_because_its_outcome_was_written() -> None:
    ended = attempt_of(uuid4(), 1)
    ended.outcome = Succeeded("null")
    assert RollCall().compare([], held(ended, since=1), sent=2, oldest_claim=None).lost == []


def test_a_cancel_request_is_found_in_the_answer() -> None:
    asked = attempt_of(uuid4(), 1)
    findings = RollCall().compare([row(asked, cancel=True)], held(asked, since=1), sent=2, oldest_claim=None)
    assert (findings.cancelled, findings.lost, findings.strays) == ([asked], [], [])


def test_confirming_an_attempt_keeps_hold_of_the_next_one_of_its_job() -> None:
    # a retry may be claimed here before the answer that confirms the attempt before it has been read
    holds, first = Held(), attempt_of(uuid4(), 1)
    second = attempt_of(first.id, 2)
    holds.end_claim(holds.begin_claim(), [first])
    holds.end_claim(holds.begin_claim(), [second])
    holds.release([first])
    assert holds.snapshot()[first.id].attempt is second
    holds.release([second])
    assert len(holds) == 0


def test_the_oldest_claim_under_way_is_known_until_it_has_ended() -> None:
    holds = Held()
    first, second = holds.begin_claim(), holds.begin_claim()
    oldest = holds.oldest_claim()
    holds.end_claim(second, [])
    assert holds.oldest_claim() == oldest
    holds.end_claim(first, [], ambiguous=True)
    assert holds.oldest_claim() is None
    assert holds.take_ambiguous()
    assert not holds.take_ambiguous()
