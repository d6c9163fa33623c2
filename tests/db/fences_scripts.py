"""For each statement of an edge, what is played to see all of its conditions at work.

A script goes through every outcome of its statement, always beside jobs that it does not concern: some that wait, some
that run under the same worker, some that are over. Each step is judged against the model, so a condition that is missed
shows as a difference, wherever that is.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from db.lifecycle import JobStatus
from tests.db import model_acts as acts
from tests.db.model import MOST_ERRORS
from tests.db.model_choices import JOBS, WORKERS
from tests.db.model_play import Play
from tests.db.model_rows import Backoff, Submission, Taker

Script = Callable[[Play], None]

ONE, TWO, LATER = WORKERS[:3]
TAKER = Taker(ONE, "default", ("a", "b"))
BESIDE, WAITING, OVER = JOBS[-3:]
"""Jobs that nobody speaks of: one runs, one waits, one is over."""
_LONG = 1e6


def _new(job_id: UUID, **more: Any) -> Submission:
    return Submission(job_id, **{"max_attempts": 3, "max_crashes": 3, "expires_in": _LONG, **more})


def _begin(play: Play, *new: Submission) -> None:
    """Two workers, the jobs beside, and `new`, which run under the first worker for the first time."""
    play.do(acts.join(ONE, "default", ("a", "b")), acts.join(TWO, "default", ("a", "b")))
    play.do(acts.submit([_new(job_id) for job_id in (BESIDE, WAITING, OVER)]))
    play.do(acts.cancel("default", [OVER]), acts.claim_by_id(TAKER, [BESIDE]))
    play.wait(1.0)
    if new:
        play.do(acts.submit(new), acts.claim_by_id(TAKER, [one.id for one in new]))


def _again(play: Play, ending: str, *jobs: UUID) -> None:
    """Ends the running attempts of `jobs` so that each may start again at once, and starts them again."""
    play.do(acts.end(ending, ONE, [(job_id, play.model.jobs[job_id].attempt) for job_id in jobs]))
    play.do(acts.claim_by_id(TAKER, jobs))


def ending(way: str) -> Script:
    """Attempts of all sorts end in one way, in one batch with attempts that are not there to be ended."""

    def script(play: Play) -> None:
        plain, last, asked, last_asked, failed, crashed, blamed = JOBS[:7]
        last_try = {"max_attempts": 1, "max_crashes": 1}
        _begin(
            play,
            _new(plain),
            _new(last, **last_try),
            _new(asked),
            _new(last_asked, **last_try),
            _new(failed),
            _new(crashed),
            _new(blamed, **last_try),
        )
        _again(play, "fail", failed)
        _again(play, "crash", crashed)
        play.blame(blamed, MOST_ERRORS)
        play.do(acts.cancel("default", [asked, last_asked]))
        play.wait(1.0)
        spoken = [(job_id, play.model.jobs[job_id].attempt) for job_id in JOBS[:7]]
        play.do(acts.end(way, TWO, spoken, 5.0))
        play.do(acts.end(way, ONE, [*((job_id, 7) for job_id in JOBS[:7]), (OVER, 0), (WAITING, 0)], 5.0))
        play.do(acts.end(way, ONE, spoken, 5.0), acts.end(way, ONE, spoken, 5.0))

    return script


def fifth_error(way: str) -> Script:
    """A job with one error fewer than are kept."""

    def script(play: Play) -> None:
        _begin(play, _new(JOBS[0], max_crashes=1))
        play.blame(JOBS[0], MOST_ERRORS - 1)
        play.do(acts.end(way, ONE, [(JOBS[0], 1)]))

    return script


def claim_by_id(play: Play) -> None:
    """Hints about everything there is."""
    _sorts_of_waiting(play)
    everything = [*JOBS[:9], OVER, BESIDE]
    play.do(acts.claim_by_id(Taker(LATER, "default", ("a",)), everything))
    play.do(acts.claim_by_id(Taker(TWO, "default", ("a",)), everything))
    play.do(acts.claim_by_id(TAKER, everything), acts.claim_by_id(TAKER, everything))


def claim_by_head(play: Play) -> None:
    """Heads of queues, of which only one holds what may start."""
    _sorts_of_waiting(play)
    for priority in ("default", "low", "high"):
        play.do(acts.claim_by_head(Taker(LATER, "default", ("a",)), priority, 2))
        play.do(acts.claim_by_head(TAKER, priority, 1), acts.claim_by_head(TAKER, priority, 100))


def _sorts_of_waiting(play: Play) -> None:
    """Jobs that wait for every reason there is; pauses, one of this pool and one of another; a worker without a beat."""
    _begin(play)
    play.do(acts.join(LATER, "default", ("a",)))
    plain, second, late, expiring, elsewhere, low, other_task, unknown, high = JOBS[:9]
    play.do(
        acts.submit(
            [
                _new(plain),
                _new(second, expires_in=None),
                _new(late, delay=60.0),
                _new(expiring, expires_in=5.0),
                _new(elsewhere, pool="gpu", priority="low"),
                _new(low, priority="low"),
                _new(other_task, task="b"),
                _new(unknown, task="nobody's"),
                _new(high, priority="high"),
            ]
        )
    )
    play.do(acts.pause_queue("gpu", "default", on=True), acts.pause_queue("default", "low", on=True))
    play.do(acts.pause_queue("gpu", "high", on=True), acts.pause_task("b", on=True))
    play.wait(10.0)
    play.do(acts.beat(ONE), acts.beat(TWO))
    play.wait(6.0)


def rescue(play: Play) -> None:
    """Workers that are silent, that have beaten since, that are dead, that left; jobs of all sorts under them."""
    plain, last, asked, growing, steady, blamed, fuller, last_asked = JOBS[:8]
    growth = {"backoff": Backoff("exponential", 2.0, 3.0, 60.0)}
    _begin(
        play,
        _new(plain, backoff=Backoff("linear", 2.0)),
        _new(last, max_crashes=1),
        _new(asked),
        _new(growing, max_crashes=4, **growth),
        _new(steady, max_crashes=4, backoff=Backoff("linear", 2.0)),
        _new(blamed, max_crashes=4),
        _new(fuller, max_crashes=4),
        _new(last_asked, max_crashes=1),
    )
    play.do(acts.submit([_new(JOBS[8])]), acts.claim_by_id(Taker(TWO, "default", ("a",)), [JOBS[8]]))
    play.blame(blamed, MOST_ERRORS)
    play.blame(fuller, MOST_ERRORS - 1)
    _again(play, "crash", growing, steady)
    play.do(acts.cancel("default", [asked, last_asked]))
    seen = play.model.workers[ONE].beat_at
    play.wait(31.0)
    play.do(acts.beat(ONE), acts.rescue({ONE: seen}), acts.rescue({}))
    play.do(acts.rescue({ONE: play.model.workers[ONE].beat_at, LATER: seen}, 2), acts.rescue({}))
    play.do(acts.rescue({ONE: play.model.workers[ONE].beat_at}))


def free_rescues(play: Play) -> None:
    """Workers die around jobs that run alone: five times free, and five times more after a replay."""
    _begin(play)
    often, seldom, cancelled = JOBS[:3]
    play.do(acts.submit([_new(job_id, max_crashes=2) for job_id in (often, seldom, cancelled)]))
    for n in range(8):
        if n == 7:
            assert play.model.jobs[often].status is JobStatus.FAILED
            play.do(acts.replay("default", [often], 0.0, None))
        worker = WORKERS[10 + n]
        play.do(acts.join(worker, "default", ("a",)))
        named = [often] if n in (1, 2, 3) else [often, seldom, cancelled]
        play.do(acts.claim_by_id(Taker(worker, "default", ("a",)), named))
        if n == 5:
            play.do(acts.cancel("default", [cancelled]))
        play.do(acts.leave(worker), acts.rescue({}))
        play.wait(1.0)
    for n in range(8):
        worker = WORKERS[30 + n]
        play.do(acts.join(worker, "default", ("a",)))
        play.do(acts.claim_by_id(Taker(worker, "default", ("a",)), [often, seldom]))
        play.do(acts.leave(worker), acts.rescue({}))


def expire(play: Play) -> None:
    """Some wait for too long, some not; what runs does not expire."""
    _begin(play, _new(JOBS[0], expires_in=5.0), _new(JOBS[1], expires_in=6.0))
    play.do(
        acts.submit([_new(JOBS[2], expires_in=5.0), _new(JOBS[3], expires_in=10.0), _new(JOBS[4], expires_in=None)])
    )
    _again(play, "fail", JOBS[1])
    play.do(acts.end("fail", ONE, [(JOBS[1], 2)]))
    play.do(acts.expire())
    play.wait(6.0)
    play.do(acts.expire(1), acts.expire(), acts.expire())


def cancel(play: Play) -> None:
    """Jobs of every status, of two tenants, and one that nobody named."""
    _statuses(play)
    play.do(acts.cancel("default", JOBS[:8]), acts.cancel("default", JOBS[:8]), acts.cancel("b", JOBS[:1]))


def replay(play: Play) -> None:
    """The same; among the final ones one is left where it is."""
    _statuses(play)
    play.do(acts.replay("b", JOBS[:7], 5.0, None))
    play.do(acts.replay("default", JOBS[:7], 5.0, None), acts.replay("default", JOBS[:7], 5.0, None))
    play.do(acts.cancel("default", JOBS[:7]), acts.replay("default", JOBS[:7], 0.0, 4))


def _statuses(play: Play) -> None:
    running, retrying, failed, succeeded, cancelled, waiting, foreign, foreign_failed = JOBS[:8]
    started = [running, retrying, failed, succeeded]
    _begin(play, *(_new(job_id) for job_id in started), _new(foreign_failed, tenant="b"))
    play.do(acts.submit([_new(cancelled), _new(waiting), _new(foreign, tenant="b")]))
    play.do(acts.end("fail", ONE, [(retrying, 1)]), acts.end("succeed", ONE, [(succeeded, 1)]))
    play.do(acts.end("fail for good", ONE, [(failed, 1), (foreign_failed, 1)]), acts.cancel("default", [cancelled]))
    play.do(acts.end("give_back", ONE, [(running, 1)]), acts.claim_by_id(TAKER, [running]))
    assert {play.model.jobs[job_id].status for job_id in JOBS[:7]} == {*JobStatus} - {JobStatus.WAITING}
    play.wait(1.0)


SCRIPTS: dict[str, list[Script]] = {
    "claim_by_id": [claim_by_id],
    "claim_by_head": [claim_by_head],
    "succeed": [ending("succeed")],
    "fail": [ending("fail"), ending("fail for good"), fifth_error("fail")],
    "crash": [ending("crash"), fifth_error("crash")],
    "snooze": [ending("snooze")],
    "give_back": [ending("give_back begun"), ending("give_back"), fifth_error("give_back begun")],
    "cancel_running": [ending("cancel_running")],
    "rescue": [rescue, free_rescues],
    "cancel": [cancel],
    "expire": [expire],
    "replay": [replay],
}
"""Statement → what is played for it."""
