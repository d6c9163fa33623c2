"""Questions that change nothing, and the model's answers to them."""

from typing import Any
from uuid import UUID

from db import attempts, idempotency, jobs, workers
from db.attempts import Verdict
from db.engine import Link
from db.lifecycle import CLAIMABLE, FINAL
from tests.db.model import HOLD, LEASE, Model
from tests.db.model_acts import ROUTE
from tests.db.model_choices import NOBODY
from tests.db.model_rows import Job, Worker
from tests.db.model_world import World

_PRIORITIES = ["high", "default", "low"]
_HORIZON = 60.0
_LOOKED_BACK = 0.05
"""Seconds: what fell due so lately is still told by "next due"."""
_KEYS = [(ROUTE, "k"), (ROUTE, "l")]


def answers(world: World, model: Model, worker: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the statements say to this worker, and what the model says they must."""
    row = model.workers.get(worker) or Worker(worker, "default", ("a", "b"), model.now)
    return world.run(_asked(world, model, row)), _told(model, row)


async def _asked(world: World, model: Model, worker: Worker) -> dict[str, Any]:
    link = Link(world.one, "errander")
    ids = [*model.jobs, NOBODY]
    mine: dict[str, Any] = {"pool": worker.pool, "tasks": worker.tasks}
    queues: dict[str, Any] = {**mine, "priorities": _PRIORITIES}
    lease = LEASE.total_seconds()
    held = await idempotency.held(link, "default", _KEYS, HOLD.total_seconds() / 3600)
    return {
        "verdicts": await attempts.verdict(link, ids, worker=worker.id, lease=lease, **mine),
        "due": await attempts.due_by_head(link, 2, **queues),
        "next due": await attempts.next_due(link, **queues),
        "horizon": sorted(tuple(row) for row in await attempts.horizon(link, seconds=_HORIZON, n=2)),
        "roll call": {held.id: (held.attempt, held.cancel) for held in await workers.roll_call(link, worker.id)},
        "beats": {beat.worker: (beat.at, beat.age) for beat in await workers.beats(link)},
        "final": set(await jobs.final_among(link, ids)),
        "keys": {key: (held.job_ids, held.expired) for (_, key), held in held.items()},
    }


def _told(model: Model, worker: Worker) -> dict[str, Any]:
    waiting = [job for job in model.jobs.values() if job.status in CLAIMABLE]
    return {
        "verdicts": {job.id: _verdict(model, worker, job) for job in model.jobs.values()},
        "due": {
            priority: min(2, sum(_due(model, worker, job) for job in waiting if job.priority == priority))
            for priority in _PRIORITIES
        },
        "next due": min((_seconds(model, job) for job in waiting if _owed(model, worker, job)), default=None),
        "horizon": _horizon(model, waiting),
        "roll call": {
            job_id: (model.jobs[job_id].attempt, model.jobs[job_id].cancel_requested_at is not None)
            for job_id in model.running
            if model.jobs[job_id].worker_id == worker.id
        },
        "beats": {
            other.id: (other.beat_at, (model.now - other.beat_at).total_seconds())
            for other in model.workers.values()
            if other.dead_at is None
        },
        "final": {job.id for job in model.jobs.values() if job.status in FINAL} | {NOBODY},
        "keys": {
            key: (held.job_ids, model.key_expired(tenant, key))
            for (tenant, key), held in model.keys.items()
            if tenant == "default"
        },
    }


def _seconds(model: Model, job: Job) -> float:
    return (job.run_at - model.now).total_seconds()


def _due(model: Model, worker: Worker, job: Job) -> bool:
    return model.claimable(job, worker.pool, worker.tasks)


def _owed(model: Model, worker: Worker, job: Job) -> bool:
    return (
        (job.pool, job.task in worker.tasks) == (worker.pool, True)
        and (job.expires_at is None or job.expires_at > model.now)
        and (job.pool, job.priority) not in model.paused_queues
        and job.task not in model.paused_tasks
        and _seconds(model, job) > -_LOOKED_BACK
    )


def _verdict(model: Model, worker: Worker, job: Job) -> Verdict:
    waits = job.status in CLAIMABLE
    elsewhere = any(
        other.pool == job.pool
        and other.dead_at is None
        and job.task in other.tasks
        and other.beat_at > model.now - LEASE
        for other in model.workers.values()
    )
    return Verdict(
        job.id,
        job.status,
        job.attempt,
        job.worker_id,
        waits,
        job.pool == worker.pool,
        _seconds(model, job) if waits else None,
        job.task in worker.tasks,
        elsewhere,
        _due(model, worker, job),
        model.alive(worker.id),
    )


def _horizon(model: Model, waiting: list[Job]) -> list[tuple[Any, ...]]:
    pools = {worker.pool for worker in model.workers.values() if worker.dead_at is None}
    soon = [
        job
        for job in waiting
        if 0 < _seconds(model, job) <= _HORIZON and job.pool in pools and job.task in model.known_tasks
    ]
    queues = {(job.pool, job.priority) for job in soon}
    first = [
        job
        for queue in queues
        for job in sorted(
            (job for job in soon if (job.pool, job.priority) == queue), key=lambda job: (job.run_at, job.id)
        )[:2]
    ]
    return sorted((job.id, job.pool, job.priority, _seconds(model, job)) for job in first)
