"""The roll call: what is a stray, what is lost, and what is neither."""

from typing import cast
from uuid import UUID, uuid4

from db.workers import Held as Row
from workers.attempt import Attempt
from workers.held import Entry
from workers.outcomes import Succeeded
from workers.roll_call import Findings, RollCall


class _StandIn:
    """As much of an attempt as the roll call looks at."""

    def __init__(self, job_id: UUID, number: int = 1) -> None:
        self.id = job_id
        self.number = number
        self.outcome: Succeeded | None = None


def running(job_id: UUID, number: int = 1) -> Attempt:
    return cast("Attempt", _StandIn(job_id, number))


def holding(*attempts: Attempt, since: float = 0.0) -> dict[UUID, Entry]:
    return {attempt.id: Entry(attempt, since) for attempt in attempts}


def row(job_id: UUID, attempt: int = 1, *, cancel: bool = False) -> Row:
    return Row(job_id, attempt, cancel)


NOTHING = Findings()


def test_what_is_held_on_both_sides_is_nothing_to_talk_about() -> None:
    job = running(uuid4())
    call = RollCall()
    for sent in (1.0, 2.0, 3.0):
        assert call.compare([row(job.id)], holding(job), sent=sent, oldest_claim=None) == NOTHING


def test_a_stray_is_given_back_at_the_second_call_that_shows_it() -> None:
    call, stray = RollCall(), row(uuid4())
    assert call.compare([stray], {}, sent=1.0, oldest_claim=None) == NOTHING
    assert call.compare([stray], {}, sent=2.0, oldest_claim=None).strays == [stray]


def test_a_stray_that_a_call_in_between_did_not_show_counts_from_the_beginning() -> None:
    call, stray = RollCall(), row(uuid4())
    call.compare([stray], {}, sent=1.0, oldest_claim=None)
    call.compare([], {}, sent=2.0, oldest_claim=None)
    assert call.compare([stray], {}, sent=3.0, oldest_claim=None) == NOTHING


def test_another_attempt_of_the_same_job_is_another_stray() -> None:
    call, job = RollCall(), uuid4()
    call.compare([row(job, 1)], {}, sent=1.0, oldest_claim=None)
    assert call.compare([row(job, 2)], {}, sent=2.0, oldest_claim=None) == NOTHING


def test_what_a_claim_under_way_may_have_won_is_no_stray() -> None:
    call, job = RollCall(), row(uuid4())
    assert call.compare([job], {}, sent=1.0, oldest_claim=0.9) == NOTHING
    assert call.compare([job], {}, sent=2.0, oldest_claim=0.9) == NOTHING, "it has not ended yet"
    assert call.compare([job], {}, sent=3.0, oldest_claim=2.5).strays == [job], "a later claim cannot have won it"


def test_what_arrives_between_two_calls_is_no_stray() -> None:
    call, job = RollCall(), running(uuid4())
    call.compare([row(job.id)], {}, sent=1.0, oldest_claim=0.9)
    assert call.compare([row(job.id)], holding(job, since=1.5), sent=2.0, oldest_claim=None) == NOTHING


def test_a_held_attempt_that_the_answer_lacks_is_lost() -> None:
    job = running(uuid4())
    assert RollCall().compare([], holding(job, since=0.5), sent=1.0, oldest_claim=None).lost == [job]


def test_a_held_attempt_that_somebody_else_runs_anew_is_lost_and_its_row_a_stray_only_if_it_stays_ours() -> None:
    job = running(uuid4(), 1)
    found = RollCall().compare([row(job.id, 2)], holding(job, since=0.5), sent=1.0, oldest_claim=None)
    assert (found.lost, found.strays) == ([job], [])


def test_what_was_claimed_after_the_call_was_sent_is_not_lost() -> None:
    job = running(uuid4())
    assert RollCall().compare([], holding(job, since=1.5), sent=1.0, oldest_claim=None) == NOTHING


def test_what_has_ended_and_waits_for_its_flush_is_not_lost() -> None:
    job = running(uuid4())
    job.outcome = Succeeded("null")
    assert RollCall().compare([], holding(job), sent=1.0, oldest_claim=None) == NOTHING


def test_a_cancel_request_is_told_for_held_attempts_only() -> None:
    held, strange = running(uuid4()), uuid4()
    rows = [row(held.id, cancel=True), row(strange, cancel=True)]
    found = RollCall().compare(rows, holding(held), sent=1.0, oldest_claim=None)
    assert (found.cancelled, found.strays, found.lost) == ([held], [], [])


def test_a_cancel_request_of_another_attempt_is_not_for_ours() -> None:
    held = running(uuid4(), 1)
    found = RollCall().compare([row(held.id, 2, cancel=True)], holding(held), sent=1.0, oldest_claim=None)
    assert found.cancelled == []
