"""One table of jobs against daily partitions of it: `python -m tests.benchmarks.partitions`.

The partitioned layouts are ranges of ids, which begin with the time at which a job was made. All layouts have the shipped
columns, constraints and indexes, and hold the same jobs: finished ones over ten days, one in a hundred of which has failed
and is kept for longer, and one in ten thousand of which still waits for a day far ahead. So no day is without a job
that must stay, and a partition cannot simply be dropped: what stays is copied into a new one that takes its place, under the
lock on the whole table that this needs. From the one table old jobs are deleted in batches, as the pruner does.

Prints two tables in Markdown: the work of every day, median and range of alternating rounds, and what retention costs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from db.migrate import upgrade
from service.embedded import EmbeddedPostgres
from tests.benchmarks.filling import BACKOFF, PAYLOAD
from tests.benchmarks.ground import POSTGRES_OPTIONS

_DAYS: Final = 10
_KEPT_DAYS: Final = 5
_CHUNK: Final = 250_000
_FINISHED: Final = 20_000
_BATCH: Final = 200
_READS: Final = 2_000

LAYOUTS: Final[Mapping[str, int]] = {"one table": 0, "a partition a day, 11": 11, "a partition a day, 100": 100}
"""Layout → partitions. A hundred is what 90 days of retention for failed jobs come to; the oldest are empty here."""

_ID = (
    "(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7'"
    " || substr(md5({seed}), 1, 3) || '8' || substr(md5({seed}), 4, 15))::uuid"
)

_FILL = f"""
INSERT INTO {{schema}}.jobs (
    id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at, created_at,
    tags, metadata, attempt, worker_id, started_at, finished_at, failed_at, result
)
SELECT {_ID.format(at="m.at", seed="n::text")}, 'default', 'bench.noop', 'default', 'default', m.status, $3::text::jsonb,
    5, 3, 300, $4::text::jsonb, CASE m.status WHEN 'PENDING' THEN now() + interval '1 year' ELSE m.at END, m.at, '[]',
    '{{{{}}}}', 1, '00000000-0000-4000-8000-000000000001', m.at,
    CASE WHEN m.status <> 'PENDING' THEN m.at END, CASE WHEN m.status = 'FAILED' THEN m.at END, $3::text::jsonb
FROM generate_series($1::int, $2::int) AS n
CROSS JOIN LATERAL (
    SELECT now() - interval '{_DAYS} days' + n * (interval '{_DAYS} days' / $5::int) AS at,
        CASE WHEN n % 10000 = 0 THEN 'PENDING' WHEN n % 100 = 0 THEN 'FAILED' ELSE 'SUCCESS' END AS status
) AS m
"""

_SUBMIT = """
INSERT INTO {schema}.jobs (
    id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at, created_at
)
SELECT t.id, 'default', 'bench.noop', 'default', 'default', 'PENDING', $2::text::jsonb, 5, 3, 300, $3::text::jsonb, now(),
    now()
FROM unnest($1::uuid[]) AS t (id)
"""

_LOCKED = """
WITH locked AS MATERIALIZED (
    SELECT j.id FROM {schema}.jobs j WHERE j.id = ANY ($1::uuid[]) AND j.status || '' = '%s'
    ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
)
"""
_CLAIM = (_LOCKED % "PENDING") + (
    "UPDATE {schema}.jobs j SET status = 'RUNNING', attempt = j.attempt + 1, started_at = now(),"
    " worker_id = '00000000-0000-4000-8000-000000000001' FROM locked l WHERE j.id = l.id RETURNING j.id"
)
_FINISH = (_LOCKED % "RUNNING") + (
    "UPDATE {schema}.jobs j SET status = 'SUCCESS', finished_at = now(), result = '{{}}'"
    " FROM locked l WHERE j.id = l.id RETURNING j.id"
)
_GET = "SELECT * FROM {schema}.jobs j WHERE j.id = $1 AND j.tenant = 'default'"
_LIST = "SELECT * FROM {schema}.jobs j WHERE j.tenant = 'default' ORDER BY j.id DESC LIMIT 50"

_DELETE = """
WITH looked AS MATERIALIZED (
    SELECT k.id, k.status, k.finished_at FROM {schema}.jobs k WHERE k.id > $1 AND k.id < $2 ORDER BY k.id LIMIT 10000
), old AS MATERIALIZED (
    SELECT o.id FROM looked o WHERE o.status = 'SUCCESS' AND o.finished_at < $3 ORDER BY o.id LIMIT 1000
), locked AS MATERIALIZED (
    SELECT j.id FROM {schema}.jobs j WHERE j.id IN (SELECT o.id FROM old o) ORDER BY j.id FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.jobs j USING locked l WHERE j.id = l.id RETURNING j.id
)
SELECT (SELECT count(*) FROM gone)::int AS gone, (SELECT o.id FROM old o ORDER BY o.id DESC LIMIT 1) AS reached
"""


@dataclass(frozen=True, slots=True)
class Retained:
    """What it cost to remove what was old enough."""

    removed: int
    seconds: float
    locked: float
    """Seconds in which nobody could use the table, at most at a time."""
    wal: float
    """Bytes a removed row."""
    usable: float
    """Seconds until the space could be used again, from when the removal began."""
    before: int
    after: int
    """Bytes of the table with its indexes, before, and after as many jobs as were removed had been added again."""


def first_id(moment: datetime) -> UUID:
    """The lowest id of a job that is made at `moment`."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


class Layout:
    """One schema with one table of jobs, whole or in partitions."""

    def __init__(self, connection: asyncpg.Connection[Any], name: str, partitions: int) -> None:
        self._connection = connection
        self.name = name
        self.schema = f"layout_{partitions}"
        self._days: dict[str, tuple[UUID, UUID]] = {}
        self._partitions = partitions
        self._ids: list[UUID] = []

    def _sql(self, text: str) -> str:
        return text.format(schema=self.schema)

    async def create(self, jobs: int) -> None:
        """The table, filled and vacuumed."""
        execute = self._connection.execute
        await execute(f"CREATE SCHEMA {self.schema}")
        like = f"CREATE TABLE {self.schema}.jobs (LIKE errander.jobs INCLUDING ALL)"
        if not self._partitions:
            await execute(f"{like} WITH (fillfactor = 50)")
        else:
            await execute(f"{like} PARTITION BY RANGE (id)")
            tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            for back in range(self._partitions):
                begin, end = (first_id(tomorrow - timedelta(days=back + more)) for more in (1, 0))
                table = f"{self.schema}.day_{back}"
                self._days[table] = (begin, end)
                await execute(
                    f"CREATE TABLE {table} PARTITION OF {self.schema}.jobs FOR VALUES FROM ('{begin}') TO ('{end}')"
                    " WITH (fillfactor = 50)"
                )
        await self.fill(1, jobs, jobs)
        rows = await self._connection.fetch(
            f"SELECT id FROM {self.schema}.jobs TABLESAMPLE BERNOULLI ({min(100.0, 150.0 * _READS / jobs)}) LIMIT {_READS}"
        )
        self._ids = [row["id"] for row in rows]
        random.shuffle(self._ids)

    async def fill(self, first: int, last: int, of: int) -> None:
        """Jobs `first` to `last` of `of` over the ten days."""
        for begin in range(first, last + 1, _CHUNK):
            end = min(last, begin + _CHUNK - 1)
            await self._connection.execute(self._sql(_FILL), begin, end, PAYLOAD, BACKOFF, of)
        await self._connection.execute(f"VACUUM ANALYZE {self.schema}.jobs")

    # -- the work of every day ---------------------------------------------------------------------------------------

    async def submit_and_run(self) -> dict[str, float]:
        """Jobs a second: inserted in batches of 1,000; then claimed and finished by id in batches of 200."""
        ids = [UUID(int=first_id(datetime.now(UTC)).int | 7 << 76 | 2 << 62 | n) for n in range(_FINISHED)]
        began = time.perf_counter()
        for start in range(0, _FINISHED, 1000):
            await self._connection.fetch(self._sql(_SUBMIT), ids[start : start + 1000], PAYLOAD, BACKOFF)
        submitted = time.perf_counter()
        done = 0
        for start in range(0, _FINISHED, _BATCH):
            batch = ids[start : start + _BATCH]
            await self._connection.fetch(self._sql(_CLAIM), batch)
            done += len(await self._connection.fetch(self._sql(_FINISH), batch))
        finished = time.perf_counter()
        if done != _FINISHED:
            raise RuntimeError(f"{self.name}: {done} of {_FINISHED} were claimed and finished")
        await self._connection.execute(f"DELETE FROM {self.schema}.jobs WHERE id = ANY ($1)", ids)
        return {"insert": _FINISHED / (submitted - began), "claim and finish": _FINISHED / (finished - submitted)}

    async def read(self) -> dict[str, float]:
        """Reads a second: jobs by id, and the newest 50."""
        began = time.perf_counter()
        for job_id in self._ids:
            await self._connection.fetchrow(self._sql(_GET), job_id)
        read = time.perf_counter()
        for _ in range(_READS // 10):
            await self._connection.fetch(self._sql(_LIST))
        return {
            "get by id": len(self._ids) / (read - began),
            "list the newest 50": _READS / 10 / (time.perf_counter() - read),
        }

    # -- retention ---------------------------------------------------------------------------------------------------

    async def retain(self, jobs: int) -> Retained:
        """Removes what succeeded more than five days ago, whole days; then as many are added again."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        cut = midnight - timedelta(days=_KEPT_DAYS)
        before, wal = await self._size(), await self._wal()
        began = time.perf_counter()
        removed, locked = await (self._replaced(cut) if self._partitions else self._deleted(cut))
        took = time.perf_counter() - began
        await self._connection.execute(f"VACUUM {self.schema}.jobs")
        usable = took if self._partitions else time.perf_counter() - began
        written = await self._wal() - wal
        await self._connection.execute("SET synchronous_commit = off")
        # the same number again, as of today
        await self._connection.execute(
            self._sql(_FILL).replace(f"now() - interval '{_DAYS} days' + n *", "now() + 0 * n *"),
            jobs + 1,
            jobs + removed,
            PAYLOAD,
            BACKOFF,
            jobs,
        )
        return Retained(removed, took, locked, written / removed, usable, before, await self._size())

    async def _deleted(self, cut: datetime) -> tuple[int, float]:
        removed, after, bound = 0, UUID(int=0), first_id(cut)
        while True:
            row = await self._connection.fetchrow(self._sql(_DELETE), after, bound, cut)
            if row is None or not row["gone"]:
                return removed, 0.0
            removed += row["gone"]
            after = row["reached"]

    async def _replaced(self, cut: datetime) -> tuple[int, float]:
        removed, longest = 0, 0.0
        for table, (begin, end) in self._days.items():
            if end > first_id(cut):
                continue
            new = f"{table}_kept"
            async with self._connection.transaction():
                await self._connection.execute(f"LOCK {self.schema}.jobs IN ACCESS EXCLUSIVE MODE")
                began = time.perf_counter()
                held = await self._connection.fetchval(f"SELECT count(*) FROM {table}")
                await self._connection.execute(
                    f"CREATE TABLE {new} (LIKE {table} INCLUDING ALL) WITH (fillfactor = 50)"
                )
                kept = await self._connection.execute(
                    f"INSERT INTO {new} SELECT * FROM {table} WHERE status <> 'SUCCESS' OR finished_at >= $1", cut
                )
                await self._connection.execute(
                    f"ALTER TABLE {self.schema}.jobs DETACH PARTITION {table}; DROP TABLE {table};"
                    f"ALTER TABLE {self.schema}.jobs ATTACH PARTITION {new} FOR VALUES FROM ('{begin}') TO ('{end}')"
                )
            longest = max(longest, time.perf_counter() - began)
            removed += held - int(kept.rpartition(" ")[2])
        return removed, longest

    async def _wal(self) -> int:
        return int(await self._connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def _size(self) -> int:
        found = await self._connection.fetchval(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c"
            " WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r'",
            self.schema,
        )
        return int(found)


async def _measure(url: str, options: argparse.Namespace) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET statement_timeout = 0; SET plan_cache_mode = force_custom_plan; SET jit = off")
        layouts = [Layout(connection, name, partitions) for name, partitions in LAYOUTS.items()]
        for layout in layouts:
            await layout.create(options.jobs)
            print(f"filled: {layout.name}", flush=True)
        await connection.execute("CHECKPOINT")
        found: dict[str, dict[str, list[float]]] = {layout.name: {} for layout in layouts}
        for number in range(options.rounds + 1):
            for layout in layouts if number % 2 else reversed(layouts):
                works: Sequence[Callable[[], Awaitable[dict[str, float]]]] = (layout.submit_and_run, layout.read)
                for work in works:
                    for what, rate in (await work()).items():
                        if number:  # the first round finds caches as the filling left them
                            found[layout.name].setdefault(what, []).append(rate)
        print("\n" + daily(found) + "\n", flush=True)
        print(
            "| layout | rows/s removed | table locked, at most | WAL a removed row | space usable after | size, and after "
            "as many were added |\n|---|---|---|---|---|---|"
        )
        for layout in layouts:
            print(line(layout.name, await layout.retain(options.jobs)), flush=True)
    finally:
        await connection.close()


def daily(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Medians and ranges of rates. Pure."""
    names = list(next(iter(found.values())))
    lines = [f"| a second | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for layout, rates in found.items():
        cells = [f"{statistics.median(rates[n]):,.0f} ({min(rates[n]):,.0f} to {max(rates[n]):,.0f})" for n in names]
        lines.append(f"| {layout} | {' | '.join(cells)} |")
    return "\n".join(lines)


def line(name: str, found: Retained) -> str:
    """One row about retention. Pure."""
    return (
        f"| {name} | {found.removed / found.seconds:,.0f} of {found.removed:,} | {found.locked * 1e3:,.0f} ms "
        f"| {found.wal:,.0f} B | {found.usable:,.1f} s | {found.before / 2**20:,.0f} MB, {found.after / 2**20:,.0f} MB |"
    )


def main() -> None:
    """Starts a server of its own, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000_000, help="finished jobs of each layout")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="errander-partitions-") as folder:
        Path(folder).chmod(0o755)
        settings = dict(POSTGRES_OPTIONS) | {"autovacuum": "off"}
        with EmbeddedPostgres(Path(folder) / "postgres", options=settings) as server:
            asyncio.run(upgrade(server.url))
            asyncio.run(_measure(server.url, options))


if __name__ == "__main__":
    main()
