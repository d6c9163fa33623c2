"""Everything that can happen to a job: each act knows its statement, and what the model says of it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db import attempts, idempotency, jobs, queues, retention, tasks, workers
from db.attempts import Moved
from db.engine import Link
from db.jobs import Edit, NewJob
from db.lifecycle import JobStatus
from db.workers import Beat, WorkerRow
from tests.db import pruning
from tests.db.model import HOLD, LEASE, Model
from tests.db.model_rows import Answer, Ends, Submission, Taker

ROUTE = "POST /v1/jobs"
_HOURS = HOLD.total_seconds() / 3600
_LEASE = LEASE.total_seconds()
_PRIORITIES = ("high", "default", "low")
_MANY = 1000


@dataclass(frozen=True)
class Act:
    """One step of one party. `play` asks PostgreSQL, `tell` the model; both give the same answer."""

    name: str
    play: Callable[[Link], Awaitable[Any]]
    tell: Callable[[Model], Any]
    together: bool = False
    """Several statements, in one transaction."""
    locks: frozenset[UUID] = frozenset()
    """Jobs that are locked even where nothing is to be changed."""
    statement: str = ""
    """The statement that can be held back after it has its snapshot, or nothing."""

    def __repr__(self) -> str:
        return self.name

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """As hypothesis prints it."""
        printer.text(self.name)

    @property
    def kind(self) -> str:
        """What it does, without to whom."""
        return self.name.partition("(")[0]


def shown(ids: Sequence[UUID]) -> str:
    """Ids as a failing example prints them."""
    return ", ".join(str(job_id.int) for job_id in ids)


def _moved(rows: Sequence[Moved]) -> Answer:
    return {row.id: (row.status, row.due_in) for row in rows}


# -- a client --------------------------------------------------------------------------------------------------------


def _new_job(one: Submission) -> NewJob:
    backoff = {**asdict(one.backoff), "jitter": 0.0}
    return NewJob(
        one.id,
        one.task,
        one.pool,
        one.priority,
        '{"n": 0}',
        one.max_attempts,
        one.max_crashes,
        60.0,
        json.dumps(backoff),
        delay=one.delay,
        expires_in=one.expires_in,
        idempotency_key=one.key,
    )


def _accepted(rows: Sequence[jobs.Accepted]) -> Answer:
    return {row.id: (row.run_at, row.expires_at) for row in rows}


def submit(new: Sequence[Submission]) -> Act:
    """Jobs without keys, of any tenants, in one statement."""

    async def play(link: Link) -> Answer:
        return _accepted(await jobs.insert(link, [one.tenant for one in new], [_new_job(one) for one in new]))

    return Act(f"submit({shown([one.id for one in new])})", play, lambda model: model.submit(new))


def submit_keyed(new: Sequence[Submission]) -> Act:
    """Jobs with keys, in one statement."""

    async def play(link: Link) -> Answer:
        made = await idempotency.submit(
            link,
            [one.tenant for one in new],
            ROUTE,
            jobs=[_new_job(one) for one in new],
            contents=[{} for _ in new],
            hours=_HOURS,
        )
        return _accepted(made)

    keys = " ".join(f"{one.key}:{one.id.int}" for one in new)
    return Act(f"submit_keyed({keys})", play, lambda model: model.submit_keyed(new))


def submit_after_expiry(one: Submission) -> Act:
    """A client that found its key held by what may have expired."""
    key = ROUTE, one.key or ""

    async def play(link: Link) -> Answer:
        await link.fetch("set_patience", patience=idempotency.PATIENCE)
        await idempotency.drop_expired(link, one.tenant, [key], _HOURS)
        claim = idempotency.Claim(ROUTE, key[1], {}, [_new_job(one)])
        won = await idempotency.claim(link, one.tenant, [claim], _HOURS)
        return _accepted(await jobs.insert(link, one.tenant, [_new_job(one)])) if won else {}

    name = f"submit_after_expiry({one.key}:{one.id.int})"
    return Act(name, play, lambda model: model.submit_after_expiry(one), together=True)


def cancel(tenant: str, ids: Sequence[UUID]) -> Act:
    """Cancels what waits, and asks what runs."""

    async def play(link: Link) -> set[UUID]:
        return set((await jobs.cancel(link, tenant, ids, "not wanted")).moved)

    name = f"cancel({shown(ids)})"
    return Act(name, play, lambda model: model.cancel(tenant, ids, "not wanted"), together=True, locks=frozenset(ids))


def replay(tenant: str, ids: Sequence[UUID], delay: float, max_attempts: int | None) -> Act:
    """Puts final jobs back."""

    async def play(link: Link) -> Answer:
        change = await jobs.replay(link, tenant, ids, delay=delay, max_attempts=max_attempts)
        return {queued.id: queued.due_in for queued in change.queued}

    def tell(model: Model) -> Answer:
        return model.replay(tenant, ids, delay, max_attempts)

    return Act(f"replay({shown(ids)})", play, tell, together=True, locks=frozenset(ids))


def run_now(tenant: str, job_id: UUID) -> Act:
    """Makes a waiting job due."""

    async def play(link: Link) -> set[UUID]:
        return set((await jobs.run_now(link, tenant, job_id)).moved)

    name = f"run_now({job_id.int})"
    return Act(name, play, lambda model: model.run_now(tenant, job_id), together=True, locks=frozenset([job_id]))


def edit(tenant: str, job_id: UUID, new: Mapping[str, Any]) -> Act:
    """New values for a waiting job; the API refuses a budget that is spent already, under the same lock."""
    given = Edit(**dict(new), set_expires_at="expires_at" in new)

    async def play(link: Link) -> set[UUID]:
        row = (await jobs.lock(link, tenant, [job_id])).get(job_id)
        if row is None or (given.max_attempts is not None and given.max_attempts <= row["failures"]):
            return set()
        return {queued.id for queued in await jobs.edit(link, tenant, job_id, given, list(new))}

    name = f"edit({job_id.int}, {dict(new)})"
    return Act(name, play, lambda model: model.edit(tenant, job_id, new), together=True, locks=frozenset([job_id]))


# -- a worker --------------------------------------------------------------------------------------------------------


def claim_by_id(taker: Taker, ids: Sequence[UUID]) -> Act:
    """What hints named."""

    async def play(link: Link) -> Answer:
        won = await attempts.claim_by_id(
            link, ids, worker=taker.worker, lease=_LEASE, pool=taker.pool, tasks=taker.tasks
        )
        return {job.id: job.attempt for job in won}

    name = f"claim_by_id({taker.worker.int}, {shown(ids)})"
    return Act(name, play, lambda model: model.claim_by_id(taker, ids), statement="claim_by_id")


def claim_by_head(taker: Taker, priority: str, n: int) -> Act:
    """What is due in one queue."""

    async def play(link: Link) -> tuple[int, Answer]:
        head = await attempts.claim_by_head(
            link, n, worker=taker.worker, lease=_LEASE, pool=taker.pool, priority=priority, tasks=taker.tasks
        )
        return head.seen, {job.id: job.attempt for job in head.jobs}

    name = f"claim_by_head({taker.worker.int}, {priority}, {n})"
    return Act(name, play, lambda model: model.claim_by_head(taker, priority, n), statement="claim_by_head")


_ERRORS = {"fail": "error", "crash": "crash"}
_SAID: dict[str, Callable[[Model, UUID, Ends, float], Answer]] = {
    "succeed": lambda model, worker, ends, _: model.succeed(worker, ends),
    "fail": lambda model, worker, ends, delay: model.fail(worker, ends, delay, final=False),
    "fail for good": lambda model, worker, ends, delay: model.fail(worker, ends, delay, final=True),
    "crash": lambda model, worker, ends, delay: model.crash(worker, ends, delay),
    "snooze": lambda model, worker, ends, delay: model.snooze(worker, ends, delay),
    "give_back": lambda model, worker, ends, delay: model.give_back(worker, ends, delay, begun=False),
    "give_back begun": lambda model, worker, ends, delay: model.give_back(worker, ends, delay, begun=True),
    "cancel_running": lambda model, worker, ends, _: model.cancel_running(worker, ends, "task", "it said so"),
}
ENDINGS = tuple(_SAID)
"""Ways for an attempt to end."""


def end(ending: str, worker: UUID, ends: Ends, delay: float = 0.0) -> Act:
    """A worker writes what its attempts ended with, be they its own or not."""
    statement = ending.split(maxsplit=1)[0]
    count = len(ends)
    each: dict[str, dict[str, Any]] = {
        "succeed": {"results": [str(attempt) for _, attempt in ends]},
        "fail": {"delays": [delay] * count, "finals": [ending != "fail"] * count},
        "crash": {"delays": [delay] * count},
        "snooze": {"delays": [delay] * count},
        "give_back": {
            "delays": [delay] * count,
            "begun": [ending != "give_back"] * count,
            "reasons": ["drain"] * count,
        },
        "cancel_running": {"by": ["task"] * count, "reasons": ["it said so"] * count},
    }
    binds = each[statement]
    if statement in _ERRORS:
        binds["errors"] = [json.dumps({"kind": _ERRORS[statement], "type": "E", "message": "m"})] * count

    async def play(link: Link) -> Answer:
        function = getattr(attempts, statement)
        numbers = [attempt for _, attempt in ends]
        return _moved(
            await function(link, worker=worker, ids=[job_id for job_id, _ in ends], attempts=numbers, **binds)
        )

    spoken = " ".join(f"{job_id.int}/{attempt}" for job_id, attempt in ends)
    name = f"{ending}({worker.int}, {spoken}, {delay:g} s)"
    return Act(name, play, lambda model: _SAID[ending](model, worker, ends, delay), statement=statement)


def report(worker: UUID, ends: Ends, done: int) -> Act:
    """Progress of some attempts."""

    async def play(link: Link) -> None:
        said = [json.dumps({"done": done})] * len(ends)
        numbers = [attempt for _, attempt in ends]
        await attempts.progress(
            link, worker=worker, ids=[job_id for job_id, _ in ends], attempts=numbers, progress=said
        )

    return Act(f"report({worker.int}, {ends})", play, lambda model: model.report(worker, ends, done))


def join(worker: UUID, pool: str, served: tuple[str, ...]) -> Act:
    """A process begins."""

    async def play(link: Link) -> None:
        hashes = dict.fromkeys(served, "hash")
        await workers.join(link, WorkerRow(worker, pool, _PRIORITIES, hashes, "here", 1, "1", 10))

    return Act(f"join({worker.int}, {pool}, {served})", play, lambda model: model.join(worker, pool, served))


def beat(worker: UUID) -> Act:
    """The heartbeat."""

    async def play(link: Link) -> bool | None:
        return await workers.beat(link, worker, running=0, slots=10)

    return Act(f"beat({worker.int})", play, lambda model: model.beat(worker))


def leave(worker: UUID) -> Act:
    """A process ends."""
    return Act(f"leave({worker.int})", lambda link: workers.leave(link, worker), lambda model: model.leave(worker))


def drain(worker: UUID) -> Act:
    """An operator asks a process to end."""
    name = f"drain({worker.int})"

    async def play(link: Link) -> bool:
        return await workers.request_drain(link, worker) is not None

    return Act(name, play, lambda model: model.drain(worker))


# -- the leader ------------------------------------------------------------------------------------------------------


def rescue(silent: Mapping[UUID, datetime], n: int = _MANY) -> Act:
    """The reaper, with the beats that it has observed."""

    async def play(link: Link) -> Answer:
        rows = await workers.rescue(link, [Beat(worker, at, 0.0) for worker, at in silent.items()], n=n)
        return {row.moved.id: (row.moved.status, row.moved.due_in, row.free) for row in rows}

    name = f"rescue({shown(list(silent))}, at most {n})"
    return Act(name, play, lambda model: model.rescue(silent, n), statement="rescue")


def expire(n: int = _MANY) -> Act:
    """The reaper's other half."""

    async def play(link: Link) -> Answer:
        return _moved(await workers.expire(link, n=n))

    return Act(f"expire({n})", play, lambda model: model.expire(n), statement="expire")


def prune_jobs(status: JobStatus, age: timedelta) -> Act:
    """Retention."""

    async def play(link: Link) -> int:
        return await pruning.prune_jobs(link, status, seconds=age.total_seconds(), n=_MANY)

    name = f"prune_jobs({status}, {age})"
    return Act(name, play, lambda model: model.prune_jobs(status, age), statement="prune_jobs")


def prune_workers(age: timedelta) -> Act:
    """Rows of the long dead."""

    async def play(link: Link) -> int:
        return await retention.prune_workers(link, seconds=age.total_seconds(), n=_MANY)

    return Act(f"prune_workers({age})", play, lambda model: model.prune_workers(age))


def prune_keys(age: timedelta) -> Act:
    """Keys of jobs that have been final for long."""

    async def play(link: Link) -> int:
        return await retention.prune_keys(link, seconds=age.total_seconds(), n=_MANY)

    return Act(f"prune_keys({age})", play, lambda model: model.prune_keys(age))


# -- an operator -----------------------------------------------------------------------------------------------------


def pause_queue(pool: str, priority: str, *, on: bool) -> Act:
    """Pauses or resumes a queue."""

    async def play(link: Link) -> None:
        await (queues.pause(link, pool, priority, None) if on else queues.resume(link, pool, priority))

    def tell(model: Model) -> None:
        change = model.paused_queues.add if on else model.paused_queues.discard
        change((pool, priority))

    return Act(f"{'pause' if on else 'resume'}_queue({pool}, {priority})", play, tell)


def pause_task(task: str, *, on: bool) -> Act:
    """Pauses or resumes a task."""

    async def play(link: Link) -> bool | None:
        if on:
            return await tasks.pause(link, task, None) is not None
        await tasks.resume(link, task)
        return None

    def tell(model: Model) -> bool | None:
        if on:
            return model.pause_task(task)
        model.paused_tasks.discard(task)
        return None

    return Act(f"{'pause' if on else 'resume'}_task({task})", play, tell)
