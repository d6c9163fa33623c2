"""The checkers of a run: a good run passes all of them, and each kind of broken promise is noticed by its rule."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from service.chaos.arming import Fired
from service.chaos.checks import RULES, judge
from service.chaos.evidence import Event, Evidence, Happened, JobId
from service.chaos.ledger import What
from service.chaos.options import Options
from service.chaos.plan import Fault
from service.chaos.record import Outcome, Request, Seen
from service.chaos.report import Report
from tests.unit.chaos_evidence import JOB, NOW, OTHER, change, good, life, line, ran, request, rescued


def test_a_good_run_is_clean() -> None:
    assert judge(good()) == []


def no_row(evidence: Evidence) -> None:
    del evidence.rows[OTHER]


def two_rows(evidence: Evidence) -> None:
    evidence.rows[JobId("job-3")] = replace(evidence.rows[OTHER], id=JobId("job-3"))


def a_stranger(evidence: Evidence) -> None:
    evidence.rows[JobId("job-3")] = replace(evidence.rows[OTHER], id=JobId("job-3"), token="")


def an_unknown_one_twice(evidence: Evidence) -> None:
    evidence.records.requests[1] = request("r2", OTHER, outcome=Outcome.UNKNOWN, ids=())
    two_rows(evidence)


def half_a_batch(evidence: Evidence) -> None:
    evidence.records.requests[1] = Request("b", ("r2", "r3"), outcome=Outcome.UNKNOWN)


def a_refused_one_stored(evidence: Evidence) -> None:
    evidence.records.requests[1] = request("r2", OTHER, outcome=Outcome.NEVER_SENT, ids=())


def refused(evidence: Evidence) -> None:
    evidence.records.requests.append(request("r9", outcome=Outcome.REFUSED, ids=()))


def a_key_twice(evidence: Evidence) -> None:
    change(evidence, OTHER, key="key-r1")


def another_answer(evidence: Evidence) -> None:
    evidence.records.requests[0].accepted((OTHER,))


def started_twice(evidence: Evidence) -> None:
    evidence.lines = [*evidence.lines, line(What.START, 10.5, attempt=2, image="elsewhere")]


def never_granted(evidence: Evidence) -> None:
    evidence.lines = [*evidence.lines, *ran(3, 20.0, 21.0)]


def ran_and_is_gone(evidence: Evidence) -> None:
    evidence.lines = [*evidence.lines, line(What.START, 5.0, job="job-9")]


def no_start(evidence: Evidence) -> None:
    evidence.lines = evidence.lines[1:]


def jumped(evidence: Evidence) -> None:
    change(evidence, attempt=3, result={"attempt": 3})


def another_ones_result(evidence: Evidence) -> None:
    change(evidence, result={"attempt": 1})


def success_without_an_end(evidence: Evidence) -> None:
    evidence.lines = [one for one in evidence.lines if one.what is not What.END]


def success_before_its_end(evidence: Evidence) -> None:
    change(evidence, finished_at=NOW + 11.0)


def another_ones_error(evidence: Evidence) -> None:
    error = {"attempt": 1, "kind": "error", "type": "ChaosError", "message": "attempt 2"}
    change(evidence, errors=(error,))


def an_error_of_nobody(evidence: Evidence) -> None:
    change(evidence, errors=({"attempt": 2, "kind": "error", "type": "E", "message": ""},))


def errors_out_of_order(evidence: Evidence) -> None:
    change(evidence, errors=evidence.rows[JOB].errors * 2)


def a_late_write(evidence: Evidence) -> None:
    evidence.events[JOB] = [rescued(1, 11.0)]


def left_a_final_status(evidence: Evidence) -> None:
    evidence.records.seen.append(Seen(JOB, "FAILED", 1, 0, 9.0, 9.1, "get"))


def seen_to_come_back(evidence: Evidence) -> None:
    seen = evidence.records.seen
    seen += [Seen(OTHER, "CANCELLED", 0, 0, 4.0, 4.1, "get"), Seen(OTHER, "PENDING", 0, 0, 5.0, 5.1, "get")]


def over_budget(evidence: Evidence) -> None:
    change(evidence, max_crashes=1)


def run_again_though_it_may_not(evidence: Evidence) -> None:
    change(evidence, max_crashes=1, crashes=0, errors=())
    evidence.events[JOB] = [Event(NOW + 8, "given-back", "PENDING", 1, "worker-1", {"reason": "drained"})]


def overlapping(evidence: Evidence) -> None:
    evidence.lines = [*evidence.lines, line(What.END, 10.5, attempt=1)]
    evidence.dead_at = {"worker-1": NOW + 10.2}


def overlapping_without_an_end_of_the_lease(evidence: Evidence) -> None:
    overlapping(evidence)
    evidence.dead_at = {}


def early_by_its_own_word(evidence: Evidence) -> None:
    evidence.lines = [line(What.START, 1.0, note=repr(NOW + 1.5)), *evidence.lines[1:]]


def early_by_its_request(evidence: Evidence) -> None:
    evidence.records.requests[0].delays = (2.0,)


def early_by_its_history(evidence: Evidence) -> None:
    detail = {"charged": True, "run_at": "1970-01-12T13:46:51+00:00"}  # NOW + 11
    evidence.events[JOB] = [replace(rescued(1, 8.0), detail=detail)]


def not_final(evidence: Evidence) -> None:
    change(evidence, OTHER, status="PENDING")
    evidence.records.seen.clear()


def too_slow(evidence: Evidence) -> None:
    evidence.unfinished = 3


def unanswered(evidence: Evidence) -> None:
    evidence.records.requests.append(request("r9", outcome=Outcome.UNANSWERED, ids=(), key="key-r9"))


def a_hint_of_nothing(evidence: Evidence) -> None:
    evidence.hinted = frozenset({"job-9"})


def succeeded_after_its_cancel(evidence: Evidence) -> None:
    change(evidence, OTHER, status="SUCCESS", attempt=1, result={"attempt": 1})


def started_after_its_cancel(evidence: Evidence) -> None:
    change(evidence, OTHER, attempt=1)
    evidence.lines = [*evidence.lines, line(What.START, 5.0, job=OTHER)]


def of_another_tenant(evidence: Evidence) -> None:
    change(evidence, tenant="south")


def shown_to_another_tenant(evidence: Evidence) -> None:
    evidence.records.foreign.append("'south' found job-1 of 'north' in a list")


def ended_by_itself(evidence: Evidence) -> None:
    evidence.lives = [life(told=[], code=1)]


def a_drain_that_failed(evidence: Evidence) -> None:
    evidence.lives = [life(code=-15, in_service=True)]


def overdue(evidence: Evidence) -> None:
    evidence.lives = [life(told=["SIGTERM", "SIGKILL"], code=-9, overdue=True)]


def left_behind(evidence: Evidence) -> None:
    evidence.left = ["process 7: python -m workers.child"]


def tables_that_differ(evidence: Evidence) -> None:
    evidence.fsck = ["ready-missing: 1"]


def tables_that_differed(evidence: Evidence) -> None:
    evidence.looks = ["lease-missing: 1"]


def an_internal_error(evidence: Evidence) -> None:
    evidence.records.internal.append("GET /: 500")


BROKEN: list[tuple[str, Callable[[Evidence], None]]] = [
    *(("I1", way) for way in (no_row, two_rows, a_stranger, an_unknown_one_twice, half_a_batch)),
    *(("I1", way) for way in (a_refused_one_stored, refused)),
    *(("I2", way) for way in (a_key_twice, another_answer)),
    *(("I3", way) for way in (started_twice, never_granted, ran_and_is_gone, no_start, jumped)),
    *(("I4", way) for way in (another_ones_result, success_without_an_end, success_before_its_end)),
    *(("I4", way) for way in (another_ones_error, an_error_of_nobody, errors_out_of_order, a_late_write)),
    *(("I5", way) for way in (left_a_final_status, seen_to_come_back)),
    *(("I6", way) for way in (over_budget, run_again_though_it_may_not)),
    *(("I7", way) for way in (overlapping, overlapping_without_an_end_of_the_lease)),
    *(("I9", way) for way in (early_by_its_own_word, early_by_its_request, early_by_its_history)),
    *(("I10", way) for way in (not_final, too_slow, unanswered)),
    ("I11", a_hint_of_nothing),
    *(("I12", way) for way in (succeeded_after_its_cancel, started_after_its_cancel)),
    *(("I14", way) for way in (of_another_tenant, shown_to_another_tenant)),
    *(("I15", way) for way in (ended_by_itself, a_drain_that_failed, overdue, left_behind)),
    *(("fsck", way) for way in (tables_that_differ, tables_that_differed)),
    ("api", an_internal_error),
]


@pytest.mark.parametrize(("rule", "way"), BROKEN, ids=[f"{rule}-{way.__name__}" for rule, way in BROKEN])
def test_a_broken_promise_is_noticed(rule: str, way: Callable[[Evidence], None]) -> None:
    evidence = good()
    way(evidence)
    assert rule in {one.rule for one in judge(evidence)}


def test_every_rule_is_broken_by_some_test() -> None:
    assert set(RULES) - {rule for rule, _ in BROKEN} == {"I8"}  # the walk over a history has tests of its own


def lost_lease(evidence: Evidence) -> None:
    """The code goes on after its worker was declared dead, as that of a frozen process does."""
    evidence.lines = [*evidence.lines, line(What.END, 10.5, attempt=1)]


def replayed_since(evidence: Evidence) -> None:
    """A replay undoes an end and a cancel."""
    change(evidence, OTHER, status="SUCCESS", attempt=1, replays=1, result={"attempt": 1}, finished_at=NOW + 7)
    detail = {"status": "CANCELLED"}
    evidence.events[OTHER] = [Event(NOW + 5, "replayed", "PENDING", 0, None, detail)]
    evidence.lines = [*evidence.lines, *(replace(one, job=OTHER) for one in ran(1, 6.0, 6.5))]


def given_back_before_it_began(evidence: Evidence) -> None:
    """A job that may run once only goes back as long as its code has not begun."""
    run_again_though_it_may_not(evidence)
    evidence.lines = [one for one in evidence.lines if one.attempt != 1]


def a_key_of_two_tenants(evidence: Evidence) -> None:
    """Each has a job under it."""
    change(evidence, OTHER, key="key-r1", tenant="south")
    evidence.records.requests[1].tenant = "south"


def killed_by_a_failpoint(evidence: Evidence) -> None:
    """A process may end itself where a failpoint says so, or where a task does."""
    evidence.lives = [life(told=[], code=-9), replace(life(told=[], code=-9), pid=555)]
    evidence.fired = [Fired("flush.sending", "kill", 101, 49.0)]
    evidence.lines = [*evidence.lines, replace(line(What.DIE, 2.5), pid=555)]


def drained_before_it_was_ready(evidence: Evidence) -> None:
    """SIGTERM ends a process that has not taken it for itself yet."""
    evidence.lives = [life(code=-15)]


def an_unknown_one(evidence: Evidence) -> None:
    """A lost answer leaves open whether there is a job."""
    evidence.records.requests[1] = request("r2", OTHER, outcome=Outcome.UNKNOWN, ids=())
    evidence.records.requests.append(request("r3", outcome=Outcome.UNKNOWN, ids=()))


def seen_while_it_changed(evidence: Evidence) -> None:
    """Answers that were under way at the same time say nothing about the order of things."""
    evidence.records.seen.append(Seen(OTHER, "PENDING", 0, 0, 3.05, 3.2, "get"))


GOOD_AS_WELL = (
    lost_lease,
    replayed_since,
    given_back_before_it_began,
    a_key_of_two_tenants,
    killed_by_a_failpoint,
    drained_before_it_was_ready,
    an_unknown_one,
    seen_while_it_changed,
)


@pytest.mark.parametrize("way", GOOD_AS_WELL, ids=lambda way: way.__name__)
def test_what_is_allowed_is_no_violation(way: Callable[[Evidence], None]) -> None:
    evidence = good()
    way(evidence)
    assert judge(evidence) == []


def test_a_violation_is_reported_with_the_whole_history_of_its_job() -> None:
    evidence = good()
    overlapping(evidence)
    report = Report(Options(seed=7), evidence, judge(evidence))
    text = "\n".join(report.lines())
    assert not report.clean
    assert f"VIOLATION I7 ({RULES['I7']}): job {JOB}" in text
    assert all(word in text for word in ("row  ", "request  ", "history  ", "ledger  ", "lease  ", "--seed 7"))
    assert report.document()["violations"][0]["history"]


def test_the_figures_say_what_really_happened() -> None:
    evidence = good()
    flush = Fault(1.0, "flush", 0.0, 0.5, 0.5)
    evidence.happened = [
        Happened(flush, NOW + 4, NOW + 4, really=True, what="valkey-server"),
        Happened(flush, NOW + 5, NOW + 5, really=False, what="it was away"),
    ]
    evidence.fired = [Fired("flush.sending", "kill", 1, 2.0)] * 2
    document = Report(Options(seed=7), evidence, []).document()
    assert document["clean"]
    assert document["faults"]["flush"] == (2, 1)
    assert document["failpoints"] == {"flush.sending:kill": 2}
    assert document["figures"]["submitted"] == document["figures"]["accepted"] == 2
    assert document["figures"]["starts_beyond_the_first"] == document["figures"]["rescued"] == 1
    assert document["figures"]["longest_wait_after_a_flush_seconds"] == 6.0
