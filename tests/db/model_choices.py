"""What may happen next: strategies over the acts, drawn from a state so that most of them matter.

Every choice names things that are there as well as things that are not, are over, or belong to somebody else: a hint may
name anything, and a worker that wakes up late speaks about attempts that are long over.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from db.lifecycle import FINAL, JobStatus
from tests.db import model_acts as acts
from tests.db.model import Model
from tests.db.model_acts import Act
from tests.db.model_rows import Backoff, Ends, Submission, Taker

T = TypeVar("T")

JOBS = [UUID(int=n) for n in range(1, 13)]
"""Few, so that acts meet."""
NOBODY = UUID(int=999)
WORKERS = [UUID(int=100 + n) for n in range(60)]
"""Enough: who is dead does not come back, and a process that begins anew has a new id."""
MOST_LIVING = 3
_BACKOFFS = [Backoff(), Backoff("linear", 2.0), Backoff("exponential", 2.0, 3.0, 10.0), Backoff("fixed", 5.0)]
_SERVED = [("a", "b"), ("a", "b"), ("a",)]
_DELAYS = [0.0, 0.0, 0.0, 5.0, 60.0]


def _mostly(draw: DrawFn, usual: Sequence[T], rare: Sequence[T], one_in: int = 8) -> T:
    """One of `usual`, now and then one of `rare`."""
    odd = not usual or (rare and draw(st.integers(0, one_in - 1)) == one_in - 1)
    return draw(st.sampled_from(rare if odd else usual))


def _ids(draw: DrawFn, usual: Sequence[UUID], rare: Sequence[UUID]) -> list[UUID]:
    """One to four ids, in any order, some perhaps twice."""
    return [_mostly(draw, usual, [*rare, NOBODY], 4) for _ in range(draw(st.integers(1, 4)))]


def _in(model: Model, *statuses: JobStatus) -> list[UUID]:
    return sorted(job.id for job in model.jobs.values() if job.status in statuses)


def _tenant(draw: DrawFn) -> str:
    return draw(st.sampled_from(["default"] * 7 + ["b"]))


# -- a client --------------------------------------------------------------------------------------------------------


def _submission(draw: DrawFn, job_id: UUID, key: str | None = None) -> Submission:
    return Submission(
        job_id,
        _tenant(draw),
        _mostly(draw, ["a"], ["b", "nobody's"], 4),
        _mostly(draw, ["default"], ["gpu"]),
        _mostly(draw, ["default"], ["high", "low"], 4),
        draw(st.sampled_from([3, 1, 2])),
        draw(st.sampled_from([3, 1, 2])),
        draw(st.sampled_from(_BACKOFFS)),
        draw(st.sampled_from([None, None, None, 5.0, 60.0])),
        draw(st.sampled_from([None, None, None, 10.0, 90.0])),
        key,
    )


def _new_ids(draw: DrawFn, model: Model, most: int) -> list[UUID]:
    """Ids never seen, or one that is there: an API process sends its statement again."""
    there = sorted(model.jobs)
    free = [job_id for job_id in JOBS if job_id not in model.jobs]
    count = draw(st.integers(1, most))
    return sorted({_mostly(draw, free[n : n + 1], there) for n in range(count) if free[n:] or there})


@st.composite
def submits(draw: DrawFn, model: Model) -> Act:
    """Jobs without keys."""
    return acts.submit([_submission(draw, job_id) for job_id in _new_ids(draw, model, 3)])


@st.composite
def keyed_submits(draw: DrawFn, model: Model) -> Act:
    """Jobs with keys, a few of which come again and again; an id is used once."""
    new = [job_id for job_id in _new_ids(draw, model, 2) if job_id not in model.jobs]
    keyed = [_submission(draw, job_id, draw(st.sampled_from(["k", "l"]))) for job_id in new]
    if len(keyed) == 1 and draw(st.booleans()):
        return acts.submit_after_expiry(keyed[0])
    return acts.submit_keyed(keyed)


@st.composite
def cancels(draw: DrawFn, model: Model) -> Act:
    """What runs rather than what waits."""
    usual = _in(model, JobStatus.RUNNING) or _in(model, JobStatus.PENDING, JobStatus.RETRYING)
    return acts.cancel(_tenant(draw), _ids(draw, usual, sorted(model.jobs)))


@st.composite
def replays(draw: DrawFn, model: Model) -> Act:
    """The dead letter and the cancelled."""
    ids = _ids(draw, _in(model, JobStatus.FAILED, JobStatus.CANCELLED), sorted(model.jobs))
    return acts.replay(_tenant(draw), ids, draw(st.sampled_from(_DELAYS)), draw(st.sampled_from([None, None, 1, 4])))


@st.composite
def edits(draw: DrawFn, model: Model) -> Act:
    """An edit, or "run now"."""
    waiting = _in(model, JobStatus.PENDING, JobStatus.RETRYING)
    job_id, tenant = _mostly(draw, waiting, [*sorted(model.jobs), NOBODY]), _tenant(draw)
    if draw(st.booleans()):
        return acts.run_now(tenant, job_id)
    moments = [model.now + timedelta(seconds=seconds) for seconds in (-10, 5, 60)]
    values: dict[str, Sequence[Any]] = {
        "priority": ["high", "default", "low"],
        "pool": ["default", "gpu"],
        "run_at": moments,
        "max_attempts": [1, 2, 5],
        "expires_at": [None, *moments],
    }
    names = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True))
    return acts.edit(tenant, job_id, {name: draw(st.sampled_from(values[name])) for name in names})


# -- a worker --------------------------------------------------------------------------------------------------------


def _worker(draw: DrawFn, model: Model) -> UUID:
    living = sorted(worker for worker in model.workers if model.alive(worker))
    return _mostly(draw, living, [*sorted(model.workers), NOBODY])


@st.composite
def claims(draw: DrawFn, model: Model) -> Act:
    """By id, of whatever a hint may name, or by head."""
    worker = _worker(draw, model)
    row = model.workers.get(worker)
    taker = Taker(worker, row.pool, row.tasks) if row else Taker(worker, "default", ("a",))
    due = sorted(job.id for job in model.jobs.values() if model.claimable(job, taker.pool, taker.tasks))
    if draw(st.booleans()):
        return acts.claim_by_id(taker, _ids(draw, due, sorted(model.jobs)))
    queues = sorted({model.jobs[job_id].priority for job_id in due})
    return acts.claim_by_head(taker, _mostly(draw, queues, ["default", "high", "low"]), draw(st.integers(1, 3)))


def _spoken(draw: DrawFn, model: Model, worker: UUID) -> Ends:
    """Attempts that a worker may speak about: its own, and now and then those of others, of before, or of nobody."""
    running = [(job_id, model.jobs[job_id].attempt) for job_id in sorted(model.running)]
    mine = [end for end in running if model.jobs[end[0]].worker_id == worker]
    known = [(job.id, job.attempt) for job in sorted(model.jobs.values(), key=lambda job: job.id)]
    before = [(job_id, max(0, attempt - 1)) for job_id, attempt in known]
    chosen = [_mostly(draw, mine, [*known, *before, (NOBODY, 1)], 5) for _ in range(draw(st.integers(1, 3)))]
    return sorted(set(chosen))


@st.composite
def ends(draw: DrawFn, model: Model) -> Act:
    """What attempts ended with, or their progress."""
    holders = sorted({job.worker_id for job in model.jobs.values() if job.worker_id and job.id in model.running})
    worker = _mostly(draw, holders, [*sorted(model.workers), NOBODY])
    spoken = _spoken(draw, model, worker)
    if draw(st.integers(0, 7)) == 7:
        return acts.report(worker, spoken, draw(st.integers(1, 9)))
    return acts.end(draw(st.sampled_from(acts.ENDINGS)), worker, spoken, draw(st.sampled_from(_DELAYS)))


@st.composite
def leases(draw: DrawFn, model: Model) -> Act:
    """A process begins, beats, is asked to drain, or ends."""
    living = sorted(worker.id for worker in model.workers.values() if worker.dead_at is None)
    if len(living) < MOST_LIVING and draw(st.booleans()):
        served = draw(st.sampled_from(_SERVED))
        return acts.join(new_worker(model), _mostly(draw, ["default"], ["gpu"]), served)
    worker = _mostly(draw, living, [*sorted(model.workers), NOBODY])
    return draw(st.sampled_from([acts.beat, acts.beat, acts.leave, acts.drain]))(worker)


def new_worker(model: Model) -> UUID:
    """The id of a process that has not begun yet."""
    return next(worker for worker in WORKERS if worker not in model.workers)


# -- the leader and the operator -------------------------------------------------------------------------------------


@st.composite
def rescues(draw: DrawFn, model: Model) -> Act:
    """The reaper has observed some workers; of some it has an old beat."""
    living = sorted(worker.id for worker in model.workers.values() if worker.dead_at is None)
    silent = draw(st.lists(st.sampled_from(living), max_size=2, unique=True)) if living else []
    stale = draw(st.integers(0, 3)) == 3
    beats = {worker: model.workers[worker].beat_at - timedelta(seconds=stale) for worker in silent}
    return acts.rescue(beats, draw(st.sampled_from([1000, 1000, 1])))


@st.composite
def upkeep(draw: DrawFn, _model: Model) -> Act:
    """Expiry and retention."""
    age = timedelta(seconds=draw(st.sampled_from([0, 60, 3600])))
    made: Callable[[], Act] = draw(
        st.sampled_from(
            [
                acts.expire,
                acts.expire,
                lambda: acts.prune_jobs(draw(st.sampled_from(sorted(FINAL))), age),
                lambda: acts.prune_workers(age),
                lambda: acts.prune_keys(draw(st.sampled_from([age, timedelta(hours=24)]))),
            ]
        )
    )
    return made()


@st.composite
def pauses(draw: DrawFn, model: Model) -> Act:
    """Of the queue and the task that everybody uses; what is paused is resumed sooner or later."""
    if draw(st.booleans()):
        queue = "default", _mostly(draw, ["default"], ["low"])
        return acts.pause_queue(*queue, on=queue not in model.paused_queues)
    task = _mostly(draw, ["a"], ["b", "nobody's"], 4)
    return acts.pause_task(task, on=task not in model.paused_tasks)


CHOICES: dict[str, Callable[[Model], SearchStrategy[Act]]] = {
    "submit": submits,
    "submit with keys": keyed_submits,
    "claim": claims,
    "end": ends,
    "cancel": cancels,
    "replay": replays,
    "edit": edits,
    "lease": leases,
    "rescue": rescues,
    "upkeep": upkeep,
    "pause": pauses,
}
"""Every kind of act, by name."""
