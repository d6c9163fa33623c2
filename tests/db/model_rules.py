"""What may never happen, whatever the model believes: rules over two looks at the tables, one step apart.

The model could share a mistake with a statement. These rules are promises instead, and know no statement: which ways there
are is `db/lifecycle.py`, and the rest is counting.
"""

from collections.abc import Callable, Iterator

from db.lifecycle import CLAIMABLE, FINAL, TRANSITIONS, JobStatus
from tests.db.model import HOLD, MOST_ERRORS, MOST_FREE_RESCUES
from tests.db.model_rows import Job
from tests.db.model_world import Read
from tests.fixtures.edges import can_move

_RECORDED = {
    "failed": ("fail", "crash"),
    "snoozed": ("snooze",),
    "given-back": ("give_back",),
    "rescued": ("rescue",),
    "replayed": ("replay",),
}
_TARGETS = {
    event: {str(status) for edge in TRANSITIONS if edge.name in names for status in edge.targets}
    for event, names in _RECORDED.items()
}
_TARGETS["cancel-requested"] = {str(JobStatus.RUNNING)}
_TARGETS["edited"] = {str(JobStatus.WAITING), *map(str, CLAIMABLE)}


def broken(before: Read, after: Read) -> list[str]:
    """The rules that this step broke, as lines to read."""
    found = broken_in(after)
    for job_id, old in before.model.jobs.items():
        new = after.model.jobs.get(job_id)
        if new is None:
            if old.status not in FINAL:
                found.append(f"kept: job {job_id.int} was deleted while {old.status}")
        else:
            found += [f"{rule.__name__}: {_said(old, new)}" for rule in _OF_A_STEP if not rule(old, new, after)]
    for job_id in after.model.jobs.keys() - before.model.jobs.keys():
        new = after.model.jobs[job_id]
        if new.idempotency_key is not None and not _key_was_free(new, before):
            found.append(f"one_job_a_key: a second job for {new.idempotency_key}: {new}")
    return found


def broken_in(look: Read) -> list[str]:
    """The rules that what stands in the tables breaks, however it came there."""
    return [f"{rule.__name__}: {line}" for rule in _OF_A_LOOK for line in rule(look)]


def _said(old: Job, new: Job) -> str:
    return f"job {old.id.int}\n  was {old}\n  is  {new}"


# -- of one look -----------------------------------------------------------------------------------------------------


def queue_and_leases_follow_the_jobs(look: Read) -> Iterator[str]:
    """`ready` holds what waits and `running` what runs, each row as the job is."""
    if look.ready != look.model.ready:
        yield f"ready holds {look.ready}, the jobs want {look.model.ready}"
    if look.running != look.model.running:
        yield f"running holds {look.running}, the jobs want {look.model.running}"


def statuses_say_what_happened(look: Read) -> Iterator[str]:
    """Final has its moment, RUNNING its worker, PENDING no failure, RETRYING one."""
    for job in look.model.jobs.values():
        spent = job.failures + job.crashes > 0
        right = (
            (job.status in FINAL) == (job.finished_at is not None)
            and (job.status is JobStatus.FAILED) == (job.failed_at is not None)
            and (job.status is not JobStatus.CANCELLED or job.cancelled_by is not None)
            and (job.status is not JobStatus.RUNNING or None not in (job.worker_id, job.started_at))
            and (job.status not in CLAIMABLE or spent == (job.status is JobStatus.RETRYING))
        )
        if not right:
            yield str(job)


def budgets_hold(look: Read) -> Iterator[str]:
    """No budget is overdrawn, and a spent one is the end."""
    for job in look.model.jobs.values():
        live = job.status not in FINAL
        if (
            job.failures > job.max_attempts
            or job.crashes > job.max_crashes
            or (live and (job.failures == job.max_attempts or job.crashes == job.max_crashes))
            or job.failures + job.crashes > job.attempt
            or len(job.errors) > MOST_ERRORS
            or job.free_rescues > MOST_FREE_RESCUES
        ):
            yield str(job)


def history_is_a_legal_path(look: Read) -> Iterator[str]:
    """Each event led where its edge may lead, in order of attempts and of time, and no row outlives its job."""
    if look.orphans:
        yield f"rows of jobs that are gone: {look.orphans}"
    for job in look.model.jobs.values():
        order = [(event.at, event.attempt) for event in job.history]
        replayed = [event.event for event in job.history].count("replayed")
        legal = all(event.status in _TARGETS[event.event] for event in job.history)
        if order != sorted(order) or not legal or replayed != job.replays or (order and order[-1][1] > job.attempt):
            yield str(job)


_OF_A_LOOK: list[Callable[[Read], Iterator[str]]] = [
    queue_and_leases_follow_the_jobs,
    statuses_say_what_happened,
    budgets_hold,
    history_is_a_legal_path,
]

# -- of one step of one job ------------------------------------------------------------------------------------------


def walks_an_edge(old: Job, new: Job, _: Read) -> bool:
    """A status is left by an edge, and a final one by a replay only."""
    replayed = new.replays > old.replays
    if old.status is new.status:
        return not replayed
    return can_move(old.status, new.status) and (old.status in FINAL) == replayed


def attempts_count_starts(old: Job, new: Job, _: Read) -> bool:
    """One more with each start, and never less; only a start changes who runs it."""
    started = old.status in CLAIMABLE and new.status is JobStatus.RUNNING
    return new.attempt == old.attempt + started and (started or new.worker_id == old.worker_id)


def never_starts_early(old: Job, new: Job, look: Read) -> bool:
    """Not before `run_at`, not after `expires_at`, not while paused, not under a worker that has no lease."""
    if old.status not in CLAIMABLE or new.status is not JobStatus.RUNNING:
        return True
    worker = new.worker_id and look.model.workers.get(new.worker_id)
    return (
        old.run_at <= look.model.now == new.started_at
        and (old.expires_at is None or old.expires_at > look.model.now)
        and (old.pool, old.priority) not in look.model.paused_queues
        and old.task not in look.model.paused_tasks
        and bool(worker)
        and look.model.alive(worker.id if worker else old.id)
    )


def final_stays_as_it_is(old: Job, new: Job, _: Read) -> bool:
    """Nothing about a final job changes but by a replay."""
    return old.status not in FINAL or new.replays == old.replays + 1 or new == old


def budgets_are_spent_one_by_one(old: Job, new: Job, _: Read) -> bool:
    """At most one of them, by one, and only by an attempt; a replay gives all back."""
    if new.replays > old.replays:
        return (new.failures, new.crashes) == (0, 0)
    spent = new.failures - old.failures, new.crashes - old.crashes
    blamed = len(new.errors) > len(old.errors) or new.errors[-1:] != old.errors[-1:]
    if spent == (0, 0):
        return new.errors == old.errors
    return spent in {(1, 0), (0, 1)} and old.status is JobStatus.RUNNING and blamed


def the_past_is_only_added_to(old: Job, new: Job, _: Read) -> bool:
    """History grows at its end, by one event a step."""
    return new.history[: len(old.history)] == old.history and len(new.history) <= len(old.history) + 1


def only_the_dead_lose_their_jobs(old: Job, new: Job, look: Read) -> bool:
    """A job is taken from a worker that has no lease, never from another."""
    if [event.event for event in new.history[len(old.history) :]] != ["rescued"]:
        return True
    worker = look.model.workers.get(old.worker_id) if old.worker_id else None
    return old.status is JobStatus.RUNNING and (worker is None or worker.dead_at is not None)


_OF_A_STEP: list[Callable[[Job, Job, Read], bool]] = [
    walks_an_edge,
    attempts_count_starts,
    never_starts_early,
    final_stays_as_it_is,
    budgets_are_spent_one_by_one,
    the_past_is_only_added_to,
    only_the_dead_lose_their_jobs,
]


def _key_was_free(new: Job, before: Read) -> bool:
    """Every job that the key's holder had made is gone or has been final for as long as keys are held."""
    held = before.model.keys.get((new.tenant, new.idempotency_key or ""))
    jobs = [before.model.jobs.get(job_id) for job_id in held.job_ids] if held else []
    return all(job is None or (job.finished_at is not None and job.finished_at < new.created_at - HOLD) for job in jobs)
