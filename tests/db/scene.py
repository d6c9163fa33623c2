"""A small world for one statement: workers and jobs in any state, and what became of them.

Builders write rows directly, so that a test begins where it wants to; everything that is proved goes through the
functions of `db`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from uuid_utils.compat import uuid7

from db import attempts, workers
from db.attempts import Claimed, Moved
from db.engine import Database, Link
from db.lifecycle import CLAIMABLE, FINAL, JobStatus
from db.workers import Beat

LEASE = 30.0
TASK = "report.build"
POOL = "default"
NO_WAIT = {"kind": "fixed", "base": 0.0, "jitter": 0.0}

# What no sequence of statements may ever bring about; each query finds the rows that break a rule.
_BROKEN = {
    "every waiting job stands in the queue as it is": """
        SELECT coalesce(j.id, r.id) FROM (SELECT * FROM errander.jobs WHERE status IN ('PENDING', 'RETRYING')) j
        FULL JOIN errander.ready r ON r.id = j.id
        WHERE r.id IS NULL OR j.id IS NULL
           OR (r.tenant, r.pool, r.priority, r.task, r.run_at) IS DISTINCT FROM
              (j.tenant, j.pool, j.priority, j.task, j.run_at)
           OR r.expires_at IS DISTINCT FROM j.expires_at""",
    "every running job has its lease": """
        SELECT coalesce(j.id, r.id) FROM (SELECT * FROM errander.jobs WHERE status = 'RUNNING') j
        FULL JOIN errander.running r ON r.id = j.id
        WHERE r.id IS NULL OR j.id IS NULL
           OR (r.attempt, r.worker_id, r.pool, r.priority) IS DISTINCT FROM (j.attempt, j.worker_id, j.pool, j.priority)""",
    "a job that waits as PENDING has no failure and no crash": """
        SELECT id FROM errander.jobs
        WHERE (status = 'PENDING' AND failures + crashes > 0) OR (status = 'RETRYING' AND failures + crashes = 0)""",
    "budgets hold": """
        SELECT id FROM errander.jobs
        WHERE (status <> 'FAILED' AND failures >= max_attempts) OR crashes > max_crashes
           OR (status NOT IN ('FAILED', 'CANCELLED') AND crashes >= max_crashes)
           OR jsonb_array_length(errors) > 20 OR failures + crashes > attempt""",
}


@dataclass(slots=True)
class Scene:
    """One database and the builders over it."""

    database: Database

    @property
    def link(self) -> Link:
        """Autocommit."""
        return self.database.link

    async def ask(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Rows of a query of the test's own."""
        return await self.link.executor.fetch(query, *values)

    # -- builders ----------------------------------------------------------------------------------------------------

    async def worker(
        self,
        *,
        pool: str = POOL,
        priorities: Sequence[str] = ("high", "default", "low"),
        tasks: Sequence[str] = (TASK,),
        beat_ago: float = 0.0,
        dead: bool = False,
    ) -> UUID:
        """A worker's row; `beat_ago` seconds since its last beat."""
        worker = uuid4()
        await self.ask(
            "INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots, beat_at, dead_at)"
            " VALUES ($1, $2, $3, $4, 'here', 1, '1', 10, now() - make_interval(secs => $5),"
            " CASE WHEN $6 THEN now() END)",
            worker,
            pool,
            list(priorities),
            json.dumps(dict.fromkeys(tasks, "hash")),
            beat_ago,
            dead,
        )
        return worker

    async def job(
        self,
        status: JobStatus | str = JobStatus.PENDING,
        *,
        worker: UUID | None = None,
        run_in: float = -1.0,
        expires_in: float | None = None,
        backoff: Mapping[str, Any] = NO_WAIT,
        job_id: UUID | None = None,
        cancel_asked: bool = False,
        finished_ago: float = 0.0,
        **columns: Any,
    ) -> UUID:
        """A job in `status` with the rows that belong to it; `run_in` and `expires_in` count from now."""
        status = JobStatus(status)
        columns = {
            "id": job_id or uuid7(),
            "tenant": "default",
            "task": TASK,
            "pool": POOL,
            "priority": "default",
            "payload": "{}",
            "max_attempts": 3,
            "max_crashes": 3,
            "timeout": 60.0,
            "backoff": json.dumps(dict(backoff)),
            **columns,
        }
        started = status is JobStatus.RUNNING or (status in FINAL and "attempt" in columns)
        moments: dict[str, float | None] = {
            "run_at": run_in,
            "created_at": -1.0,
            "expires_at": expires_in,
            "started_at": -0.5 if started or worker else None,
            "finished_at": -finished_ago if status in FINAL else None,
            "failed_at": -finished_ago if status is JobStatus.FAILED else None,
            "cancel_requested_at": -0.1 if cancel_asked else None,
        }
        if status is JobStatus.RUNNING:
            columns.setdefault("attempt", 1)
        if status is JobStatus.CANCELLED:
            columns.setdefault("cancelled_by", "client")
        columns |= {"status": str(status), "worker_id": worker}
        names = [*columns, *moments]
        places = [f"${n}" for n in range(1, len(columns) + 1)]
        places += [f"now() + make_interval(secs => ${n}::float8)" for n in range(len(columns) + 1, len(names) + 1)]
        await self.ask(
            f"WITH made AS (INSERT INTO errander.jobs ({', '.join(names)}) VALUES ({', '.join(places)}) RETURNING *),"
            " queued AS (INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at, expires_at)"
            " SELECT id, tenant, pool, priority, task, run_at, expires_at FROM made"
            " WHERE status IN ('PENDING', 'RETRYING'))"
            " INSERT INTO errander.running (id, attempt, worker_id, pool, priority)"
            " SELECT id, attempt, worker_id, pool, priority FROM made WHERE status = 'RUNNING'",
            *columns.values(),
            *moments.values(),
        )
        found: UUID = columns["id"]
        return found

    # -- short forms of the functions of db --------------------------------------------------------------------------

    async def claim(
        self,
        worker: UUID,
        *ids: UUID,
        link: Link | None = None,
        pool: str = POOL,
        tasks: Sequence[str] = (TASK,),
        lease: float = LEASE,
    ) -> list[Claimed]:
        """Claims by id."""
        return await attempts.claim_by_id(link or self.link, ids, worker=worker, lease=lease, pool=pool, tasks=tasks)

    async def claim_head(
        self,
        worker: UUID,
        n: int = 10,
        *,
        link: Link | None = None,
        pool: str = POOL,
        priority: str = "default",
        tasks: Sequence[str] = (TASK,),
        lease: float = LEASE,
    ) -> attempts.Head:
        """Claims by head."""
        return await attempts.claim_by_head(
            link or self.link, n, worker=worker, lease=lease, pool=pool, priority=priority, tasks=tasks
        )

    async def beat_of(self, worker: UUID) -> Beat:
        """The worker's beat as the reaper's process has seen it."""
        return next(beat for beat in await workers.beats(self.link) if beat.worker == worker)

    async def finish(
        self, statement: str, worker: UUID, *jobs: tuple[UUID, int], link: Link | None = None, **binds: Any
    ) -> list[Moved]:
        """One of the statements that end an attempt, by name, with plain values for what is not given."""
        function = getattr(attempts, statement)
        plain = FINISHES[statement] | binds
        moved: list[Moved] | None = await function(
            link or self.link,
            worker=worker,
            ids=[job_id for job_id, _ in jobs],
            attempts=[number for _, number in jobs],
            **{name: [value] * len(jobs) for name, value in plain.items()},
        )
        return moved or []

    # -- what became of it -------------------------------------------------------------------------------------------

    async def row(self, job_id: UUID) -> asyncpg.Record:
        """The job's row."""
        return (await self.ask("SELECT * FROM errander.jobs WHERE id = $1", job_id))[0]

    async def status(self, job_id: UUID) -> str:
        """Its status."""
        return str((await self.row(job_id))["status"])

    async def errors(self, job_id: UUID) -> list[dict[str, Any]]:
        """Its errors, oldest first."""
        found: list[dict[str, Any]] = json.loads((await self.row(job_id))["errors"])
        return found

    async def due_in(self, job_id: UUID) -> float:
        """Seconds until it may start, by the database's clock."""
        rows = await self.ask(
            "SELECT extract(epoch FROM run_at - now())::float8 AS due FROM errander.jobs WHERE id = $1", job_id
        )
        return float(rows[0]["due"])

    async def history(self, job_id: UUID) -> list[dict[str, Any]]:
        """Its rows of history, oldest first, `detail` read."""
        rows = await self.ask("SELECT * FROM errander.history WHERE job_id = $1 ORDER BY id", job_id)
        return [{**row, "detail": json.loads(row["detail"] or "{}")} for row in map(dict, rows)]

    async def check(self) -> None:
        """Asserts that the three tables agree about every job and that no budget is overdrawn."""
        for rule, query in _BROKEN.items():
            rows = await self.ask(query)
            assert not rows, f"{rule}: {[str(row[0]) for row in rows]}"


FINISHES: dict[str, dict[str, Any]] = {
    "succeed": {"results": '{"done": true}'},
    "fail": {"errors": '{"kind": "error", "type": "E", "message": "m"}', "delays": 0.0, "finals": False},
    "crash": {"errors": '{"kind": "crash", "type": "E", "message": "m"}', "delays": 0.0},
    "snooze": {"delays": 5.0},
    "give_back": {"begun": True, "delays": 0.0, "reasons": "a drain"},
    "cancel_running": {"by": "client", "reasons": "not wanted"},
    "progress": {"progress": '{"done": 1}'},
}
"""The statements that a worker writes about its own attempts, with plain values for their arrays."""

TARGETS: dict[str, str] = {
    "succeed": "SUCCESS",
    "fail": "RETRYING",
    "crash": "RETRYING",
    "snooze": "PENDING",
    "give_back": "PENDING",
    "cancel_running": "CANCELLED",
}
"""Where each of them leads a first attempt of a job with budgets left."""


def waiting(status: str) -> bool:
    """Whether a job in `status` stands in the queue."""
    return JobStatus(status) in CLAIMABLE
