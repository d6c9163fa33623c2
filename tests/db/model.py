"""What the statements of `db/sql` have to do, said a second time, in plain Python over dictionaries.

A `Model` is the whole state: jobs, workers, pauses, keys, and what time it is. A method is one statement (or one short
transaction of a client): it changes the state and returns what the statement answers. There are no queries, no locks and
no snapshots here; what `ready` and `running` must hold follows from the jobs. Read beside `docs/lifecycle.md`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from db.lifecycle import CLAIMABLE, FINAL, JobStatus
from tests.db.model_rows import Answer, Ends, Event, Job, Key, KeyName, Submission, Taker, Worker

LEASE = timedelta(seconds=30)
HOLD = timedelta(hours=24)
"""How long a key is held after its jobs are final."""
MOST_ERRORS = 20
MOST_FREE_RESCUES = 5
WAITS = frozenset({JobStatus.WAITING, *CLAIMABLE})


@dataclass
class Model:
    """The state, and every statement as a method."""

    now: datetime
    known_tasks: frozenset[str]
    jobs: dict[UUID, Job] = field(default_factory=dict)
    workers: dict[UUID, Worker] = field(default_factory=dict)
    paused_queues: set[tuple[str, str]] = field(default_factory=set)
    paused_tasks: set[str] = field(default_factory=set)
    keys: dict[KeyName, Key] = field(default_factory=dict)
    locked: frozenset[UUID] = frozenset()
    """Jobs that another transaction holds: what comes round again leaves them out."""

    def copy(self, *, locked: Collection[UUID] = ()) -> Self:
        """A state of its own, in which others hold `locked`."""
        return replace(deepcopy(self), locked=frozenset(locked))

    @property
    def ready(self) -> dict[UUID, tuple[Any, ...]]:
        """What `ready` must hold."""
        return {job.id: job.queued for job in self.jobs.values() if job.status in CLAIMABLE}

    @property
    def running(self) -> dict[UUID, tuple[Any, ...]]:
        """What `running` must hold."""
        return {job.id: job.lease for job in self.jobs.values() if job.status is JobStatus.RUNNING}

    # -- submit ------------------------------------------------------------------------------------------------------

    def submit(self, new: Sequence[Submission]) -> Answer:
        """An id that is there already is left alone."""
        made = {}
        for one in new:
            if one.id not in self.jobs:
                run_at = self.now + timedelta(seconds=one.delay or 0)
                expires_at = None if one.expires_in is None else self.now + timedelta(seconds=one.expires_in)
                self.jobs[one.id] = Job(
                    one.id,
                    one.tenant,
                    one.task,
                    one.pool,
                    one.priority,
                    one.max_attempts,
                    one.max_crashes,
                    one.backoff,
                    run_at,
                    self.now,
                    expires_at,
                    one.key,
                )
                made[one.id] = run_at, expires_at
        return made

    def submit_keyed(self, new: Sequence[Submission]) -> Answer:
        """Only those are made whose key nobody holds; of two with one key the smaller id."""
        won = []
        for one in sorted(new, key=lambda one: one.id):
            name = one.tenant, one.key or ""
            if name not in self.keys:
                self.keys[name] = Key((one.id,), self.now + timedelta(seconds=one.delay or 0) + HOLD)
                won.append(one)
        return self.submit(won)

    def submit_after_expiry(self, new: Submission) -> Answer:
        """A key whose job has been final for long enough is given up first."""
        if self.key_expired(new.tenant, new.key or ""):
            del self.keys[new.tenant, new.key or ""]
        return self.submit_keyed([new])

    def key_expired(self, tenant: str, key: str) -> bool:
        """Whether the key is there, and each of its jobs is gone or has been final for longer than keys are held."""
        held = self.keys.get((tenant, key))
        jobs = [self.jobs.get(job_id) for job_id in held.job_ids] if held else []
        return held is not None and all(
            job is None or (job.finished_at is not None and job.finished_at < self.now - HOLD) for job in jobs
        )

    # -- claim -------------------------------------------------------------------------------------------------------

    def alive(self, worker_id: UUID) -> bool:
        """Whether the worker may claim: its lease is half fresh."""
        worker = self.workers.get(worker_id)
        return worker is not None and worker.dead_at is None and worker.beat_at > self.now - LEASE / 2

    def claimable(self, job: Job, pool: str, tasks: Collection[str]) -> bool:
        """Due, not expired, served, not paused."""
        return (
            job.status in CLAIMABLE
            and job.run_at <= self.now
            and (job.expires_at is None or job.expires_at > self.now)
            and (job.pool, job.task in tasks) == (pool, True)
            and (job.pool, job.priority) not in self.paused_queues
            and job.task not in self.paused_tasks
        )

    def claim_by_id(self, taker: Taker, ids: Collection[UUID]) -> Answer:
        """Hints name anything; what is claimable is won."""
        named = [job for job_id, job in self.jobs.items() if job_id in ids]
        return self._start(taker, [job for job in named if self.claimable(job, taker.pool, taker.tasks)])

    def claim_by_head(self, taker: Taker, priority: str, n: int) -> tuple[int, Answer]:
        """The earliest n that nobody holds, and how many were seen of at most 4n."""
        due = [job for job in self.jobs.values() if self.claimable(job, taker.pool, taker.tasks)]
        seen = sorted((job for job in due if job.priority == priority), key=lambda job: (job.run_at, job.id))[: 4 * n]
        return len(seen), self._start(taker, [job for job in seen if job.id not in self.locked][:n])

    def _start(self, taker: Taker, picked: Iterable[Job]) -> Answer:
        won = {}
        for job in picked if self.alive(taker.worker) else ():
            if job.id not in self.locked:
                job.status, job.attempt, job.worker_id = JobStatus.RUNNING, job.attempt + 1, taker.worker
                job.started_at, job.cancel_requested_at, job.progress = self.now, None, None
                won[job.id] = job.attempt
        return won

    # -- what a worker says of its attempts --------------------------------------------------------------------------

    def mine(self, worker: UUID, ends: Ends) -> Iterator[Job]:
        """The fence: RUNNING, this attempt, this worker."""
        for job_id, attempt in ends:
            job = self.jobs.get(job_id)
            fence = JobStatus.RUNNING, attempt, worker
            if job and (job.status, job.attempt, job.worker_id) == fence and job_id not in self.locked:
                yield job

    def succeed(self, worker: UUID, ends: Ends) -> Answer:
        """A finish beats a cancel request. The result is the attempt."""
        answer = {}
        for job in self.mine(worker, ends):
            job.result = job.attempt
            answer[job.id] = self._end(job, JobStatus.SUCCESS)
        return answer

    def fail(self, worker: UUID, ends: Ends, delay: float, *, final: bool) -> Answer:
        """FAILED at the limit or where it is final, which beats a cancel request, which beats a retry."""
        answer = {}
        for job in self.mine(worker, ends):
            job.failures += 1
            self._blame(job, "error")
            over = final or job.failures >= job.max_attempts
            answer[job.id] = self._retry(job, timedelta(seconds=delay), over=over, limit_first=True)
            self._note(job, "failed")
        return answer

    def crash(self, worker: UUID, ends: Ends, delay: float) -> Answer:
        """The job's own process died: a cancel request beats both the limit and a retry."""
        answer = {}
        for job in self.mine(worker, ends):
            job.crashes += 1
            self._blame(job, "crash")
            over = job.crashes >= job.max_crashes
            answer[job.id] = self._retry(job, timedelta(seconds=delay), over=over)
            self._note(job, "failed")
        return answer

    def snooze(self, worker: UUID, ends: Ends, delay: float) -> Answer:
        """Later, at no cost."""
        answer = {}
        for job in self.mine(worker, ends):
            answer[job.id] = self._retry(job, timedelta(seconds=delay))
            self._note(job, "snoozed")
        return answer

    def give_back(self, worker: UUID, ends: Ends, delay: float, *, begun: bool) -> Answer:
        """At no cost, and not before its old `run_at`; but what may never run twice is lost once it has begun."""
        answer = {}
        for job in self.mine(worker, ends):
            over = begun and job.max_crashes == 1 and job.cancel_requested_at is None
            if over:
                job.crashes += 1
                self._blame(job, "lost")
            wait = max(job.run_at - self.now, timedelta(seconds=delay))
            answer[job.id] = self._retry(job, wait, over=over)
            self._note(job, "given-back")
        return answer

    def cancel_running(self, worker: UUID, ends: Ends, by: str, reason: str) -> Answer:
        """The code has ended after a cancel request, or the task raised Cancel."""
        answer = {}
        for job in self.mine(worker, ends):
            job.cancelled_by, job.cancel_reason = by, job.cancel_reason or reason
            answer[job.id] = self._end(job, JobStatus.CANCELLED)
        return answer

    def report(self, worker: UUID, ends: Ends, done: int) -> None:
        """Progress."""
        for job in self.mine(worker, ends):
            job.progress = done

    def _retry(self, job: Job, wait: timedelta, *, over: bool = False, limit_first: bool = False) -> Any:
        asked = job.cancel_requested_at is not None
        if over and (limit_first or not asked):
            return self._end(job, JobStatus.FAILED)
        if asked:
            return self._end(job, JobStatus.CANCELLED)
        job.status = JobStatus.RETRYING if job.failures + job.crashes else JobStatus.PENDING
        job.run_at = self.now + wait
        return job.status, wait.total_seconds()

    def _end(self, job: Job, status: JobStatus, by: str = "client") -> Any:
        job.status, job.finished_at = status, self.now
        if status is JobStatus.FAILED:
            job.failed_at = self.now
        if status is JobStatus.CANCELLED:
            job.cancelled_by = job.cancelled_by or by
        return status, None

    def _blame(self, job: Job, kind: str) -> None:
        job.errors = [*job.errors, (job.attempt, kind)][-MOST_ERRORS:]

    def _note(self, job: Job, event: str, *, started: bool = True, charged: bool | None = None) -> None:
        since = job.started_at if started else None
        again = event == "snoozed" or (event in ("failed", "rescued") and job.status in CLAIMABLE)
        run_at = job.run_at if again else None
        job.history.append(Event(event, str(job.status), job.attempt, job.worker_id, since, self.now, charged, run_at))

    # -- leases and the reaper ---------------------------------------------------------------------------------------

    def join(self, worker: UUID, pool: str, tasks: tuple[str, ...]) -> None:
        """A process begins."""
        self.workers.setdefault(worker, Worker(worker, pool, tasks, self.now))

    def beat(self, worker_id: UUID) -> bool | None:
        """None where the lease is lost, else whether it shall drain."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.dead_at is not None:
            return None
        worker.beat_at = self.now
        return worker.drain_requested_at is not None

    def leave(self, worker_id: UUID) -> None:
        """A process ends."""
        worker = self.workers.get(worker_id)
        if worker is not None and worker.dead_at is None:
            worker.dead_at = self.now

    def drain(self, worker_id: UUID) -> bool:
        """Somebody asks a process to end."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.dead_at is not None:
            return False
        worker.drain_requested_at = worker.drain_requested_at or self.now
        return True

    def rescue(self, silent: Mapping[UUID, datetime], n: int) -> Answer:
        """Who has not beaten since it was observed is dead; the first n jobs under no living worker are taken."""
        for worker in self.workers.values():
            if worker.dead_at is None and silent.get(worker.id) == worker.beat_at:
                worker.dead_at = self.now
        living = {worker.id for worker in self.workers.values() if worker.dead_at is None}
        lost = sorted(job_id for job_id in self.running if self.jobs[job_id].worker_id not in living)
        return {job_id: self._rescue(self.jobs[job_id]) for job_id in [j for j in lost if j not in self.locked][:n]}

    def _rescue(self, job: Job) -> Any:
        isolated = job.max_crashes > 1 and job.crashes >= max(1, job.max_crashes - 1)
        charged = not isolated or job.free_rescues >= MOST_FREE_RESCUES
        if charged:
            job.crashes += 1
            self._blame(job, "lost")
        over = charged and job.crashes >= job.max_crashes
        outcome = self._retry(job, job.backoff.before(max(1, job.crashes)), over=over)
        self._note(job, "rescued", charged=charged)
        return *outcome, not charged

    def expire(self, n: int) -> Answer:
        """The first n of the waiting jobs that were to have started before now."""
        moments = {job.id: job.expires_at for job in self.jobs.values() if job.status in CLAIMABLE}
        late = sorted((moment, job_id) for job_id, moment in moments.items() if moment and moment <= self.now)
        return {job_id: self._expired(self.jobs[job_id]) for _, job_id in late[:n] if job_id not in self.locked}

    def _expired(self, job: Job) -> Any:
        job.cancel_reason = "it had not started when it expired"
        return self._end(job, JobStatus.CANCELLED, "expired")

    # -- the client's side -------------------------------------------------------------------------------------------

    def _of(self, tenant: str, ids: Collection[UUID]) -> list[Job]:
        return [job for job in self.jobs.values() if job.id in ids and job.tenant == tenant]

    def cancel(self, tenant: str, ids: Collection[UUID], reason: str) -> set[UUID]:
        """What waits ends at once; what runs is asked once."""
        changed = set()
        for job in self._of(tenant, ids):
            if job.status in WAITS:
                self._end(job, JobStatus.CANCELLED)
            elif job.status is JobStatus.RUNNING and job.cancel_requested_at is None:
                job.cancel_requested_at = self.now
                self._note(job, "cancel-requested", started=False)
            else:
                continue
            job.cancel_reason = reason
            changed.add(job.id)
        return changed

    def replay(self, tenant: str, ids: Collection[UUID], delay: float, max_attempts: int | None) -> Answer:
        """A final job begins anew, with whole budgets and its old number."""
        answer: Answer = {}
        for job in self._of(tenant, ids):
            if job.status in FINAL - {JobStatus.SUCCESS}:
                job.status, job.replays = JobStatus.PENDING, job.replays + 1
                job.failures = job.crashes = 0
                job.max_attempts = max_attempts or job.max_attempts
                job.run_at = self.now + timedelta(seconds=delay)
                job.result = job.progress = job.finished_at = job.failed_at = job.expires_at = None
                job.cancel_requested_at = job.cancelled_by = job.cancel_reason = None
                self._note(job, "replayed")
                answer[job.id] = delay
        return answer

    def run_now(self, tenant: str, job_id: UUID) -> set[UUID]:
        """A waiting job is due."""
        waiting = [job for job in self._of(tenant, [job_id]) if job.status in CLAIMABLE]
        for job in waiting:
            if job.run_at > self.now:
                job.run_at = self.now
                self._note(job, "edited", started=False)
        return {job.id for job in waiting}

    def edit(self, tenant: str, job_id: UUID, new: Mapping[str, Any]) -> set[UUID]:
        """New values for a waiting job, unless its failures have spent the new budget already."""
        waiting = [job for job in self._of(tenant, [job_id]) if job.status in WAITS]
        changed = [job for job in waiting if new.get("max_attempts", job.max_attempts) > job.failures]
        for job in changed:
            for name, value in new.items():
                setattr(job, name, max(self.now, value) if name == "run_at" else value)
            self._note(job, "edited", started=False)
        return {job.id for job in changed}

    # -- pauses and retention ----------------------------------------------------------------------------------------

    def pause_task(self, task: str) -> bool:
        """Only what the catalogue knows."""
        if task in self.known_tasks:
            self.paused_tasks.add(task)
        return task in self.known_tasks

    def prune_jobs(self, status: JobStatus, age: timedelta) -> int:
        """Final jobs that ended longer than `age` ago."""
        old = [
            job.id
            for job in self.jobs.values()
            if job.status is status and job.finished_at is not None and job.finished_at < self.now - age
        ]
        gone = [job_id for job_id in old if job_id not in self.locked]
        for job_id in gone:
            del self.jobs[job_id]
        return len(gone)

    def prune_workers(self, age: timedelta) -> int:
        """The long dead, under whom nothing runs."""
        busy = {self.jobs[job_id].worker_id for job_id in self.running}
        dead = {worker.id: worker.dead_at for worker in self.workers.values() if worker.id not in busy}
        gone = [worker for worker, dead_at in dead.items() if dead_at is not None and dead_at < self.now - age]
        for worker_id in gone:
            del self.workers[worker_id]
        return len(gone)

    def prune_keys(self, age: timedelta) -> int:
        """Keys whose jobs have all been final for `age`, or are gone; how many it looked at."""
        due = [name for name, key in self.keys.items() if key.check_after <= self.now]
        for name in due:
            jobs = [self.jobs[job_id] for job_id in self.keys[name].job_ids if job_id in self.jobs]
            if all(job.finished_at is not None and job.finished_at <= self.now - age for job in jobs):
                del self.keys[name]
            else:
                again = min(timedelta(hours=1), max(timedelta(minutes=1), age))
                self.keys[name].check_after = self.now + again
        return len(due)
