"""A queue in constant use, under different vacuum settings: `python -m tests.benchmarks.churn`.

Jobs are put into the queue and drained through the shipped statements, round after round, beside scheduled jobs that stay.
Every row of `ready` and `running` lives for a moment and leaves a dead one behind, in the heap and in every index. The
settings differ in when autovacuum comes and how fast it works; everything else is as shipped, the pause of a minute
between two looks of autovacuum included.

Prints a table in Markdown: jobs a second; the most dead rows, the largest index of the queue's head, and how long a look at
an empty head took, as sampled after each round; autovacuum's visits; and the CPU of PostgreSQL a job, its submission and autovacuum included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import psutil

from db import attempts
from db.engine import Database
from db.migrate import upgrade
from service.embedded import EmbeddedPostgres
from tests.benchmarks.filling import TASK, add_waiting
from tests.benchmarks.ground import POSTGRES_OPTIONS

_BATCH = 200
_CHURNED = ("ready", "running")
_PARAMETERS = (
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_threshold",
    "autovacuum_vacuum_cost_delay",
    "autovacuum_analyze_scale_factor",
    "autovacuum_analyze_threshold",
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_vacuum_insert_threshold",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is varied. `parameters` are of `ready` and `running`, None: as the migrations have made them."""

    parameters: Mapping[str, str] | None = None
    naptime: str = "1min"
    """Between two looks of autovacuum, a setting of the whole server."""
    own: float | None = None
    """Seconds between two VACUUMs of both tables that the program itself makes."""


_SMALL = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.05",
}

SETTINGS: Final[Mapping[str, Setting]] = {
    "PostgreSQL's defaults": Setting({}),
    "by a hundredth and 5,000 rows": Setting(_SMALL),
    "the same without pauses": Setting(_SMALL | {"autovacuum_vacuum_cost_delay": "0"}),
    "as shipped": Setting(),
    "as shipped, looked at every 10 s": Setting(naptime="10s"),
    "defaults, looked at every 10 s": Setting({}, naptime="10s"),
    "as shipped, own VACUUM every 5 s": Setting(own=5.0),
}

_HEAD = """
SELECT count(*) FROM (
    SELECT r.id, r.run_at FROM errander.ready r
    WHERE r.pool = 'default' AND r.priority = 'default' AND r.task = $1 AND r.run_at <= now()
      AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.run_at, r.id LIMIT 400
) AS head
"""

_LATER = """
INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at)
SELECT gen_random_uuid(), 'default', 'default', 'default', $2, now() + interval '1 day' + n * interval '1 second'
FROM generate_series(1, $1::int) AS n
"""


@dataclass(slots=True)
class Measured:
    """One run under one setting; lists have an entry a round."""

    rates: list[float] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    heap: list[int] = field(default_factory=list)
    head: list[float] = field(default_factory=list)
    visits: int = 0
    cpu: float = 0.0


class Churn:
    """One database, drained again and again."""

    def __init__(self, database: Database, connection: asyncpg.Connection[Any], server_pid: int) -> None:
        self._database = database
        self._connection = connection
        self._server = psutil.Process(server_pid)
        self._worker = uuid4()

    async def run(self, setting: Setting, *, seconds: float, jobs: int, later: int) -> Measured:
        """Rounds of `jobs` jobs for `seconds` seconds, beside `later` scheduled ones."""
        await self._connection.execute(
            "INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots, beat_at)"
            " VALUES ($1, 'default', '{default}', '{}', 'bench', 1, '0', 1, now() + interval '1 day')",
            self._worker,
        )
        if setting.parameters is not None:
            for table in _CHURNED:
                await self._connection.execute(f"ALTER TABLE errander.{table} RESET ({', '.join(_PARAMETERS)})")
                for name, value in setting.parameters.items():
                    await self._connection.execute(f"ALTER TABLE errander.{table} SET ({name} = {value})")
        await self._connection.execute(_LATER, later, TASK)
        await self._connection.execute("VACUUM ANALYZE errander.ready, errander.running, errander.jobs")
        found, done, cpu = Measured(), 0, self._cpu()
        ends = time.monotonic() + seconds
        vacuums = None if setting.own is None else asyncio.create_task(self._keep_vacuuming(setting.own))
        while time.monotonic() < ends:
            await add_waiting(self._connection, jobs)
            began = time.perf_counter()
            done += await self._drain()
            found.rates.append(jobs / (time.perf_counter() - began))
            await self._sample(found)
        if vacuums is not None:
            vacuums.cancel()
            await asyncio.wait([vacuums])
        found.cpu = (self._cpu() - cpu) / done * 1e6
        return found

    async def _drain(self) -> int:
        done = 0
        while True:
            head = await attempts.claim_by_head(
                self._database.link,
                _BATCH,
                worker=self._worker,
                lease=30,
                pool="default",
                priority="default",
                tasks=[TASK],
            )
            if not head.jobs:
                return done
            ids: list[UUID] = [job.id for job in head.jobs]
            numbers = [job.attempt for job in head.jobs]
            moved = await self._database.link.fetch(
                "succeed", ids=ids, attempts=numbers, results=["{}"] * len(ids), worker=self._worker
            )
            done += len(moved)

    async def _keep_vacuuming(self, every: float) -> None:
        connection = await asyncpg.connect(self._database.dsn)
        try:
            await connection.execute("SET statement_timeout = 0")
            while True:
                await asyncio.sleep(every)
                await connection.execute("VACUUM errander.ready, errander.running")
        finally:
            await connection.close()

    async def _sample(self, found: Measured) -> None:
        began = time.perf_counter()
        await self._connection.fetchval(_HEAD, TASK)
        found.head.append((time.perf_counter() - began) * 1e3)
        row = await self._connection.fetchrow(
            "SELECT sum(n_dead_tup)::bigint AS dead, sum(autovacuum_count)::int AS visits,"
            " pg_relation_size('errander.ready_head') AS index,"
            " sum(pg_relation_size(relid))::bigint AS heap"
            " FROM pg_stat_user_tables WHERE schemaname = 'errander' AND relname = ANY($1)",
            list(_CHURNED),
        )
        if row is None:
            raise RuntimeError("a sum has one row")
        found.dead.append(row["dead"])
        found.index.append(row["index"])
        found.heap.append(row["heap"])
        found.visits = row["visits"]

    def _cpu(self) -> float:
        """Seconds of CPU of the server and its processes, those that are gone included."""
        own = self._server.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self._server.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
        return total


def line(name: str, found: Measured) -> str:
    """One row of the table."""
    rates = sorted(found.rates)
    return (
        f"| {name} | {statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f}) | {found.cpu:.0f} µs "
        f"| {max(found.dead):,} | {max(found.index) / 2**20:.1f} MB | {max(found.heap) / 2**20:.1f} MB "
        f"| {statistics.median(found.head):.2f} ms, at most {max(found.head):.1f} ms | {found.visits} |"
    )


async def _measured(server: EmbeddedPostgres, name: str, options: argparse.Namespace) -> Measured:
    pid = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    await upgrade(server.url)
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute("SET statement_timeout = 0")
        async with await Database.open(server.url, size=1) as database:
            return await Churn(database, connection, pid).run(
                SETTINGS[name], seconds=options.seconds, jobs=options.jobs, later=options.later
            )
    finally:
        await connection.close()


def main() -> None:
    """A server of its own for each setting; prints a row as soon as there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="of each setting")
    parser.add_argument("--jobs", type=int, default=20_000, help="of one round")
    parser.add_argument("--later", type=int, default=50_000, help="scheduled jobs that stay in the queue")
    parser.add_argument("--only", choices=list(SETTINGS), help="one setting")
    options = parser.parse_args()
    print(
        "| vacuum of `ready` and `running` | jobs/s (range) | PostgreSQL CPU a job | most dead rows | `ready_head` "
        "| heaps | look at an empty head | autovacuums |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in SETTINGS:
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="errander-churn-") as folder:
            Path(folder).chmod(0o755)
            options_of_server = dict(POSTGRES_OPTIONS) | {"autovacuum_naptime": SETTINGS[name].naptime}
            with EmbeddedPostgres(Path(folder) / "postgres", options=options_of_server) as server:
                print(line(name, asyncio.run(_measured(server, name, options))), flush=True)


if __name__ == "__main__":
    main()
