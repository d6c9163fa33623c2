"""Every two acts about one job, against each other, in every way that two transactions can meet.

Where the machine draws its races, this goes through them: a job that runs, one that waits and one that is over, everything
that can happen to each of them, and each plan.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from db.lifecycle import JobStatus
from tests.db import model_acts as acts
from tests.db.model_acts import Act
from tests.db.model_choices import JOBS, WORKERS
from tests.db.model_play import Play
from tests.db.model_races import Plan
from tests.db.model_rows import Submission, Taker
from tests.db.model_world import World

JOB, OTHER = JOBS[:2]
ONE, TWO = WORKERS[:2]
_MINE, _HIS = (Taker(worker, "default", ("a",)) for worker in (ONE, TWO))

PLANS = {
    "the second has its snapshot": Plan(held_back=True),
    "the first is open, the second commits": Plan(early=True),
    "both are open": Plan(early=False),
    "between two statements": Plan(after=1),
    "the first rolls back": Plan(kept=False),
}


def _running(play: Play) -> None:
    play.do(acts.join(ONE, "default", ("a",)), acts.join(TWO, "default", ("a",)))
    play.do(acts.submit([Submission(JOB, expires_in=10.0), Submission(OTHER)]))
    play.do(acts.claim_by_id(_MINE, [JOB]), acts.claim_by_id(_HIS, [OTHER]))


def _waiting(play: Play) -> None:
    _running(play)
    play.do(acts.end("fail", ONE, [(JOB, 1)]))


def _late(play: Play) -> None:
    _waiting(play)
    play.wait(10.0)


def _over(play: Play) -> None:
    _running(play)
    play.do(acts.end("fail for good", ONE, [(JOB, 1)]))
    play.wait(1.0)


STATES: dict[str, Callable[[Play], None]] = {"running": _running, "waiting": _waiting, "late": _late, "over": _over}


def _acts(play: Play) -> list[Act]:
    """What may happen to the job, or to who runs it."""
    now, both, attempt = play.model.now, [JOB, OTHER], play.model.jobs[JOB].attempt
    ends = [acts.end(way, ONE, [(JOB, attempt)], 5.0) for way in acts.ENDINGS]
    return [
        *ends,
        acts.claim_by_id(_HIS, both),
        acts.claim_by_head(_MINE, "default", 1),
        acts.cancel("default", both),
        acts.replay("default", both, 0.0, None),
        acts.run_now("default", JOB),
        acts.edit("default", JOB, {"priority": "high", "run_at": now + timedelta(seconds=5), "expires_at": None}),
        acts.rescue({ONE: play.model.workers[ONE].beat_at}),
        acts.beat(ONE),
        acts.leave(ONE),
        acts.expire(),
        acts.prune_jobs(JobStatus.FAILED, timedelta(0)),
        acts.pause_queue("default", "default", on=True),
    ]


def pairs(world: World, state: str, plan: str, statement: str = "") -> int:
    """Plays all pairs, or those that `statement` takes part in; how many. Raises AssertionError at the first wrong end."""
    asked = PLANS[plan]
    sample = _acts(_begun(world, state))
    chosen = [
        (one, two)
        for one, first in enumerate(sample)
        for two, second in enumerate(sample)
        if statement in ("", first.statement, second.statement)
        and (second.statement or not asked.held_back)
        and (first.together or asked is not PLANS["between two statements"])
    ]
    for one, two in chosen:
        play = _begun(world, state)
        again = _acts(play)
        play.do_both(again[one], again[two], asked)
    return len(chosen)


def _begun(world: World, state: str) -> Play:
    play = Play(world, Counter())
    STATES[state](play)
    return play
