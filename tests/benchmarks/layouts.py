"""Two layouts of the tables, measured against each other: `python -m tests.benchmarks.layouts`.

One table: `jobs` alone, with partial indexes over what waits and what runs. Three tables: `jobs`, `ready` and `running`,
as they are shipped. Both drain the same jobs through the same three steps, a batch at a time over one connection: claim
the head of the queue, then finish what was won. Rounds alternate, so that whatever else the machine does meets both.

Prints a table in Markdown: jobs a second, PostgreSQL's CPU and WAL a job, the share of HOT updates, and what
it then costs to vacuum the tables, which grows with the history where indexes have to be cleaned.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psutil

from db import statements
from db.migrate import upgrade
from service.embedded import EmbeddedPostgres

TASK = "bench.noop"
PAYLOAD = '{"customer": "c-1234", "pages": 12, "note": "a payload of about a hundred bytes, as many jobs have one"}'

_COLUMNS = (
    "id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at, created_at"
)

_FILL = f"""
INSERT INTO {{schema}}.jobs ({_COLUMNS}, started_at, finished_at, worker_id, attempt)
SELECT gen_random_uuid(), 'default', '{TASK}', 'default', 'default', CASE WHEN $3 THEN 'SUCCESS' ELSE 'PENDING' END,
    CAST($2 AS text)::jsonb, 5, 3, 300, '{{{{"kind": "exponential", "base": 2.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}}}}',
    now() - n * interval '1 ms', now(), CASE WHEN $3 THEN now() END, CASE WHEN $3 THEN now() END,
    CASE WHEN $3 THEN gen_random_uuid() END, CASE WHEN $3 THEN 1 ELSE 0 END
FROM generate_series(1, $1::int) AS n
"""

_QUEUE = "INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at FROM errander.jobs WHERE status = 'PENDING'"

# The shipped table and its indexes, plus the two partial ones that a single table needs to be a queue.
_ONE_TABLE = """
CREATE SCHEMA one;
CREATE TABLE one.jobs (LIKE errander.jobs INCLUDING ALL);
CREATE INDEX ON one.jobs (pool, priority, task, run_at, id) WHERE status IN ('PENDING', 'RETRYING');
CREATE INDEX ON one.jobs (worker_id) WHERE status = 'RUNNING';
"""

# The shipped statements, with `ready` and `running` taken out and every condition kept.
_CLAIM_ONE = """
WITH candidates AS MATERIALIZED (
    SELECT c.id, c.run_at
    FROM unnest(CAST($1 AS text[])) AS served(task)
    CROSS JOIN LATERAL (
        SELECT r.id, r.run_at FROM one.jobs r
        WHERE r.status IN ('PENDING', 'RETRYING') AND r.pool = 'default' AND r.priority = 'default'
          AND r.task = served.task AND r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id LIMIT 4 * $2::int
    ) c
    ORDER BY c.run_at, c.id LIMIT 4 * $2::int
), picked AS MATERIALIZED (
    SELECT won.id FROM candidates c
    CROSS JOIN LATERAL (
        SELECT r.id FROM one.jobs r
        WHERE r.id = c.id AND r.status || '' IN ('PENDING', 'RETRYING') AND r.run_at <= now()
          AND (r.expires_at IS NULL OR r.expires_at > now()) AND r.pool = 'default' AND r.task = ANY($1)
          AND (r.pool, r.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)
          AND r.task NOT IN (SELECT t.task FROM errander.task_pauses t)
        FOR NO KEY UPDATE OF r SKIP LOCKED
    ) won
    WHERE EXISTS (SELECT FROM errander.workers w WHERE w.id = $3::uuid AND w.dead_at IS NULL
                  AND w.beat_at > now() - make_interval(secs => $4::float8 / 2))
    LIMIT $2::int
)
UPDATE one.jobs j
SET status = 'RUNNING', attempt = j.attempt + 1, worker_id = $3::uuid, started_at = now(), cancel_requested_at = NULL,
    progress = NULL
FROM picked p WHERE j.id = p.id
RETURNING j.id, j.attempt, j.task, j.payload, j.pool, j.priority, j.tenant, j.failures, j.crashes, j.max_attempts,
    j.max_crashes, j.timeout, j.backoff, j.idempotency_key, j.tags, j.metadata, j.run_at, j.created_at
"""

_FINISH_ONE = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) AS t(id, attempt, result)
), locked AS MATERIALIZED (
    SELECT j.id, i.result FROM input i JOIN one.jobs j ON j.id = i.id
    WHERE j.attempt = i.attempt AND j.worker_id = $4::uuid AND j.status || '' = 'RUNNING'
    ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE one.jobs j SET status = 'SUCCESS', result = l.result::jsonb, finished_at = now()
FROM locked l WHERE j.id = l.id RETURNING j.id, j.status
"""


@dataclass(frozen=True)
class Measured:
    """One round of one layout."""

    rate: float
    """Jobs a second."""
    cpu: float
    """Microseconds of PostgreSQL's CPU a job, over all its processes."""
    wal: float
    """Bytes a job."""
    hot: float
    """Share of the updates of `jobs` that were HOT."""
    vacuum: float
    """Milliseconds of PostgreSQL's CPU for the VACUUM of all tables afterwards."""


class Bench:
    """One server, one connection, two layouts."""

    def __init__(self, connection: asyncpg.Connection[Any], server_pid: int, batch: int) -> None:
        self._connection = connection
        self._server = psutil.Process(server_pid)
        self._batch = batch
        self._worker = uuid4()

    async def prepare(self, fillfactor: int) -> None:
        """The second layout, and a worker that never falls silent."""
        await self._connection.execute(_ONE_TABLE)
        for schema in ("one", "errander"):
            await self._connection.execute(f"ALTER TABLE {schema}.jobs SET (fillfactor = {fillfactor})")
        await self._connection.execute(
            "INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots, beat_at)"
            " VALUES ($1, 'default', '{default}', '{}', 'h', 1, '1', 1, now() + interval '1 day')",
            self._worker,
        )

    async def round(self, layout: str, jobs: int, history: int) -> Measured:
        """Fills the layout anew and drains it."""
        schema = "one" if layout == "one table" else "errander"
        await self._connection.execute("TRUNCATE one.jobs, errander.jobs, errander.ready, errander.running")
        fill = _FILL.format(schema=schema)
        if history:
            await self._connection.execute(fill, history, PAYLOAD, True)
        await self._connection.execute(fill, jobs, PAYLOAD, False)
        if schema == "errander":
            await self._connection.execute(_QUEUE)
        await self._connection.execute("VACUUM ANALYZE one.jobs, errander.jobs, errander.ready, errander.running")
        await self._connection.execute("CHECKPOINT")
        before, wal, began, cpu = await self._updates(schema), await self._wal(), time.perf_counter(), self._cpu()
        done = await self._drain(schema)
        took, used = time.perf_counter() - began, self._cpu() - cpu
        written, after = await self._wal() - wal, await self._updates(schema)
        if done != jobs:
            raise RuntimeError(f"{layout}: {done} of {jobs} jobs were drained")
        cpu = self._cpu()
        await self._connection.execute("VACUUM one.jobs, errander.jobs, errander.ready, errander.running")
        vacuum = self._cpu() - cpu
        updates, hot = (late - early for late, early in zip(after, before, strict=True))
        return Measured(jobs / took, used / jobs * 1e6, written / jobs, hot / updates, vacuum * 1e3)

    async def _drain(self, schema: str) -> int:
        done = 0
        while ids := await self._claim(schema):
            done += await self._finish(schema, ids)
        return done

    async def _claim(self, schema: str) -> list[UUID]:
        if schema == "one":
            rows = await self._connection.fetch(_CLAIM_ONE, [TASK], self._batch, self._worker, 30.0)
        else:
            claim = statements.load("claim_by_head", schema)
            binds = {"pool": "default", "priority": "default", "tasks": [TASK], "lease": 30.0}
            rows = await self._connection.fetch(
                claim.sql, *claim.values({**binds, "n": self._batch, "worker": self._worker})
            )
        return [row["id"] for row in rows if row["id"] is not None]

    async def _finish(self, schema: str, ids: Sequence[UUID]) -> int:
        ones, results = [1] * len(ids), ['{"ok": true}'] * len(ids)
        if schema == "one":
            return len(await self._connection.fetch(_FINISH_ONE, ids, ones, results, self._worker))
        finish = statements.load("succeed", schema)
        binds = {"ids": ids, "attempts": ones, "results": results, "worker": self._worker}
        return len(await self._connection.fetch(finish.sql, *finish.values(binds)))

    async def _wal(self) -> int:
        return int(await self._connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def _updates(self, schema: str) -> tuple[int, int]:
        await self._connection.execute("SELECT pg_stat_force_next_flush()")
        row = await self._connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'jobs'",
            schema,
        )
        if row is None:
            raise RuntimeError(f"no table {schema}.jobs")
        return row["n_tup_upd"], row["n_tup_hot_upd"]

    def _cpu(self) -> float:
        """Seconds of CPU that the server and its processes have used, those that are gone included."""
        total = 0.0
        for process in [self._server, *self._server.children()]:
            times = process.cpu_times()
            total += times.user + times.system
        own = self._server.cpu_times()
        return total + own.children_user + own.children_system


async def compare(url: str, server_pid: int, options: argparse.Namespace) -> dict[str, list[Measured]]:
    """Alternating rounds of both layouts; the first of each is thrown away."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET statement_timeout = 0")
        bench = Bench(connection, server_pid, options.batch)
        await bench.prepare(options.fillfactor)
        found: dict[str, list[Measured]] = {"one table": [], "three tables": []}
        for number in range(options.rounds + 1):
            for layout, measured in found.items():
                result = await bench.round(layout, options.jobs, options.history)
                if number:
                    measured.append(result)
        return found
    finally:
        await connection.close()


def table(found: dict[str, list[Measured]]) -> str:
    """Medians, and the range of the rates."""
    lines = [
        "| layout | jobs/s (range) | PostgreSQL CPU a job | WAL a job | HOT updates | VACUUM afterwards |",
        "|---|---|---|---|---|---|",
    ]
    for layout, rounds in found.items():
        rates = [measured.rate for measured in rounds]
        names = ("cpu", "wal", "hot", "vacuum")
        cpu, wal, hot, vacuum = (statistics.median(getattr(m, name) for m in rounds) for name in names)
        lines.append(
            f"| {layout} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
            f"| {cpu:.0f} µs | {wal:,.0f} B | {hot:.0%} | {vacuum:.0f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Starts a server of its own, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fillfactor", type=int, default=70, help="of both tables; 70 is shipped")
    parser.add_argument("--history", type=int, default=0, help="finished jobs that stand in the table beforehand")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres", options={"autovacuum": "off", "max_wal_size": "4GB"}) as server:
            asyncio.run(upgrade(server.url))
            pid = int((server.data / "postmaster.pid").read_text().splitlines()[0])
            print(table(asyncio.run(compare(server.url, pid, options))))


if __name__ == "__main__":
    main()
