"""Each statement uses the indexes that its header names, in the state that ruins plans.

The tables are analysed while they are empty, as an idle queue is, and then a burst arrives: the statistics say that
nothing waits. A plan made from them must not read the backlog to find a few rows by their ids.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import audit, statements
from db.audit import Wanted
from db.engine import Database
from db.filters import JobFilter, lowest_id
from db.lifecycle import JobStatus
from db.lists import failures, newest
from db.models import Base
from db.reading import Reader
from tests.fixtures.servers import Databases

WAITING = 200_000
FINISHED = 30_000
RUNNING = 1_000
LARGE = {"jobs", "ready", "running", "history", "idempotency_keys", "audit"}
"""Tables that a statement must never read from end to end."""

# The reaper asks for the leases of *missing* workers too; there are no more leases than the fleet has slots.
READ_WHOLE = {"rescue": {"running"}, "queue_running": {"running"}, "changed_jobs": {"running"}}

# With a tenant beside the ids both find a row by its id, and the planner may take either.
SAME = {"jobs_pkey": {"jobs_pkey", "jobs_newest"}}

# Figures for people: they count a table, or a sample of it, by design; tests of the API hold what they may cost.
FIGURES = {"arrived_recently", "count_queues", "fleet", "queue_workers", "running_count", "waiting_of_tenants"} | {
    "waiting_statuses",
    "key_exists",
    "summarize_ended",  # has no plan: a function of PostgreSQL that writes an index
}

# Looks by time into a table that has been there for long, so its statistics are those of a table in use.
SETTLED = {"changed_jobs", "ended_figures", "fold_finished"}

_INDEXES = {str(index.name) for table in Base.metadata.tables.values() for index in table.indexes} | {
    f"{table.name}_pkey" for table in Base.metadata.tables.values()
}

_FILL = f"""
CREATE FUNCTION pg_temp.id(kind int, n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS
    $$ SELECT (lpad(to_hex(1700000000 + n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(kind * 16777216 + n), 12, '0'))::uuid $$;
INSERT INTO errander.jobs (id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout,
    backoff, run_at, created_at, started_at, finished_at, failed_at, worker_id, attempt, expires_at)
SELECT pg_temp.id(kind, n), CASE WHEN kind = 3 AND n % 10 = 1 THEN 'other' ELSE 'default' END,
    'task.' || n % 5, 'default', (ARRAY['high', 'default', 'low'])[1 + n % 3],
    CASE kind WHEN 1 THEN 'PENDING' WHEN 2 THEN 'RUNNING' ELSE CASE n % 10 WHEN 0 THEN 'FAILED' ELSE 'SUCCESS' END END,
    '{{}}', 3, 3, 60, '{{}}', now() + (n % 1000 - 500) * interval '1 s', now(),
    CASE WHEN kind > 1 THEN now() END, CASE WHEN kind = 3 THEN now() - n * interval '1 s' END,
    CASE WHEN kind = 3 AND n % 10 = 0 THEN now() - n * interval '1 s' END,
    CASE WHEN kind > 1 THEN pg_temp.id(9, n % 20) END, 1, CASE WHEN n % 50 = 0 THEN now() + interval '1 h' END
FROM (VALUES (1, {WAITING}), (2, {RUNNING}), (3, {FINISHED})) AS kinds(kind, count),
    LATERAL generate_series(1, count) AS n;
INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at, expires_at FROM errander.jobs
    WHERE status = 'PENDING';
INSERT INTO errander.running SELECT id, attempt, worker_id, pool, priority FROM errander.jobs WHERE status = 'RUNNING';
INSERT INTO errander.history (job_id, event, status, attempt)
    SELECT pg_temp.id(3, n), 'failed', 'RETRYING', 1 FROM generate_series(1, {FINISHED}) n;
INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)
    SELECT 'default', 'jobs', 'k' || n, '{{}}', ARRAY[pg_temp.id(3, n)], now() + n * interval '1 s'
    FROM generate_series(1, {FINISHED}) n;
INSERT INTO errander.audit (at, tenant, actor, action, object_kind, object_id)
    SELECT now() - n * interval '1 min', 'default', 'key:' || n % 50, 'job.cancel', 'job', pg_temp.id(3, n)
    FROM generate_series(1, {FINISHED}) n;
INSERT INTO errander.audit (tenant, actor, action, object_kind, object_ids)
    SELECT 'default', 'key:1', 'jobs.cancel', 'jobs', ARRAY(SELECT pg_temp.id(3, n * 50 + m) FROM generate_series(1, 50) m)
    FROM generate_series(1, 200) n;
INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots)
    SELECT pg_temp.id(9, n), 'default', '{{high,default,low}}', '{{"task.1": "h"}}', 'h', n, '1', 100
    FROM generate_series(0, 19) n;
"""

_IDS = [UUID(f"{1700000000 + n:08x}-0000-7000-8000-{1 * 16777216 + n:012x}") for n in range(1, 2001, 10)]
_RUNNING_IDS = [UUID(f"{1700000000 + n:08x}-0000-7000-8000-{2 * 16777216 + n:012x}") for n in range(1, 201)]
_FINAL_IDS = [UUID(f"{1700000000 + n:08x}-0000-7000-8000-{3 * 16777216 + n:012x}") for n in range(1, 201)]
_WORKER = UUID(f"{1700000000 + 1:08x}-0000-7000-8000-{9 * 16777216 + 1:012x}")
_NEW = [UUID(int=n, version=4) for n in range(1, 4)]
_NOW = datetime.now(UTC)

# By the statement's kind of ids, then by the bind's name: values as the server sends them.
_RUNS = {"succeed", "fail", "crash", "snooze", "give_back", "cancel_running", "progress", "ask_cancel"}
_ENDED = {"replay", "held_keys", "drop_keys", "lock_keys"}


def _values(name: str) -> dict[str, Any]:
    ids = _RUNNING_IDS if name in _RUNS else _FINAL_IDS if name in _ENDED else _IDS
    rows = len(ids)
    return {
        "ids": ids,
        "id": ids[0],
        "attempts": [1] * rows,
        "results": ["{}"] * rows,
        "errors": ["{}"] * rows,
        "delays": [1.0] * rows,
        "finals": [False] * rows,
        "begun": [True] * rows,
        "reasons": ["why"] * rows,
        "by": ["task"] * rows,
        "progress": ["{}"] * rows,
        "worker": _WORKER,
        "lease": 30.0,
        "pool": "default",
        "priority": "default",
        "priorities": ["high", "default", "low"],
        "tasks": "{}" if name == "worker_join" else ["task.1", "task.2", "task.3"],
        "n": 100,
        "horizon": 60.0,
        "seconds": 3600.0,
        "status": "SUCCESS",
        "silent": [_WORKER],
        "beats": [_NOW],
        "tenant": "default",
        "tenants": ["other"],
        "reason": None,
        "allowed": "3s",
        "delay": 0.0,
        "payload": None,
        "max_attempts": None,
        "name": "main",
        "routes": ["jobs"] * 200,
        "keys": [f"k{n}" for n in range(200)],
        "hours": 24.0,
        "fields": ["tags"],
        "set_expires_at": False,
        "task": "task.1",
        "after": UUID(int=0),
        "look": 1000,
        "deep": 10_000,
        "lag": 3600.0,
        "since": _NOW - timedelta(seconds=60),
        "until": _NOW,
        "span": 10,
        "into": 60,
        "margin": 2.0,
        "longest": 20.0,
        "bound": 1000,
        "floor": lowest_id(_NOW - timedelta(seconds=60)),
        "last": RUNNING,
        "run_at": _NOW,
        "sample": 1000,
    }


_NEW_JOBS: dict[str, Any] = {
    "ids": _NEW,
    "tasks": ["t"] * 3,
    "pools": ["default"] * 3,
    "priorities": ["low"] * 3,
    "payloads": ["{}"] * 3,
    "max_attempts": [1] * 3,
    "max_crashes": [1] * 3,
    "timeouts": [1.0] * 3,
    "backoffs": ["{}"] * 3,
    "tags": ["[]"] * 3,
    "metadatas": ["{}"] * 3,
    "idempotency_keys": ["a", "b", "c"],
    "run_ats": [None] * 3,
    "delays": [None] * 3,
    "expires_ats": [None] * 3,
    "expires_ins": [None] * 3,
    "contents": ["{}"] * 3,
    "route": "jobs",
    "patience": "200ms",
    "routes": ["jobs"] * 3,
    "keys": ["x", "y", "z"],
    "job_ids": ["[]"] * 3,
}


_KEY: dict[str, Any] = {
    "id": "AAAAAAAA",
    "after_id": "AAAAAAAA",
    "before": _NOW,
    "digest": b"d" * 32,
    "last_four": "AAAA",
    "scopes": ["jobs:read"],
    "tasks": None,
    "created_by": "test",
}


def _binds(name: str) -> dict[str, Any]:
    statement = statements.load(name, "errander")
    known = (
        _values(name)
        | (_KEY if name.startswith("key_") else {})
        | (_NEW_JOBS if name in {"insert_jobs", "submit_keyed", "claim_keys"} else {})
    )
    return {bind: known.get(bind) for bind in statement.binds}


def header_indexes(name: str) -> set[str]:
    """The indexes that the header of a statement names."""
    header = "\n".join(line for line in statements.source(name).splitlines() if line.startswith("--"))
    found = re.search(r"^-- index: (.*(?:\n--  +.*)*)", header, re.MULTILINE)
    return set(re.findall(r"[a-z_]+", found[1])) & _INDEXES if found else set()


@pytest.fixture(scope="module")
def burst(databases: Databases, template_database: str) -> Iterator[str]:
    """The address of a database with a burst of jobs that its statistics do not know of."""
    name = databases.create(template_database)
    url = databases.server.url_of(name)
    databases.run(_fill(url))
    yield url
    databases.drop(name)


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET statement_timeout = 0")
        for table in sorted(LARGE):
            await connection.execute(f"ALTER TABLE errander.{table} SET (autovacuum_enabled = off)")
        await connection.execute("ANALYZE")
        await connection.execute(_FILL)
    finally:
        await connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def plan_of(url: str, sql: str, values: list[Any]) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchval(f"EXPLAIN (FORMAT JSON, COSTS OFF) {sql}", *values)
    finally:
        await connection.close()
    return list(nodes(json.loads(found)[0]["Plan"]))


def used(plan: list[dict[str, Any]]) -> set[str]:
    """The indexes of a plan, those that an ON CONFLICT goes by among them."""
    by_scan = {node["Index Name"] for node in plan if "Index Name" in node}
    return by_scan | {index for node in plan for index in node.get("Conflict Arbiter Indexes", ())}


def read_whole(plan: list[dict[str, Any]]) -> set[str]:
    """The large tables that a plan reads from end to end."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & LARGE


@pytest.fixture(scope="module")
def settled(burst: str, databases: Databases) -> Iterator[str]:
    """The same with statistics of what is there now."""
    name = databases.create(burst.rpartition("/")[2])
    url = databases.server.url_of(name)
    databases.run(_analyse(url))
    yield url
    databases.drop(name)


async def _analyse(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@pytest.mark.parametrize("name", sorted(set(statements.names()) - FIGURES - SETTLED))
async def test_a_statement_goes_by_the_indexes_that_its_header_names(burst: str, name: str) -> None:
    await goes_by_its_indexes(burst, name)


@pytest.mark.parametrize("name", sorted(SETTLED))
async def test_a_look_by_time_goes_by_its_indexes_once_the_table_was_analysed(settled: str, name: str) -> None:
    await goes_by_its_indexes(settled, name)


@pytest.mark.parametrize("name", ["claim_by_id", "claim_by_head", "succeed", "fail", "rescue", "expire", "prune_keys"])
async def test_a_hot_statement_keeps_its_plan_once_the_table_was_analysed(settled: str, name: str) -> None:
    await goes_by_its_indexes(settled, name)


async def goes_by_its_indexes(url: str, name: str) -> None:
    statement = statements.load(name, "errander")
    plan = await plan_of(url, statement.sql, statement.values(_binds(name)))
    assert read_whole(plan) <= READ_WHOLE.get(name, set())
    expected = {index for index in header_indexes(name) if index.startswith(tuple(f"{table}_" for table in LARGE))}
    missing = {index for index in expected if not SAME.get(index, {index}) & used(plan)}
    assert missing == set(), f"the plan uses {sorted(used(plan))}"


@pytest.mark.parametrize("name", ["claim_by_id", "claim_by_head", "succeed", "fail", "rescue"])
async def test_a_hot_statement_takes_milliseconds_in_the_burst(burst: str, name: str) -> None:
    statement = statements.load(name, "errander")
    connection = await asyncpg.connect(burst)
    try:
        took: list[float] = []
        for _ in range(3):
            transaction = connection.transaction()
            await transaction.start()
            found = await connection.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {statement.sql}", *statement.values(_binds(name))
            )
            await transaction.rollback()
            took.append(json.loads(found)[0]["Execution Time"])
    finally:
        await connection.close()
    assert min(took) < 60, f"{took} ms; a plan that reads the backlog takes 80 to 450"


_LISTS: dict[str, tuple[JobFilter, str]] = {
    "newest": (JobFilter(), "jobs_newest"),
    "failed": (JobFilter(statuses=frozenset({JobStatus.FAILED})), "jobs_failed"),
    "by id": (JobFilter(ids=frozenset(_IDS[:50])), "jobs_newest"),
    "recent": (JobFilter(created_after=_NOW - timedelta(hours=1)), "jobs_newest"),
}


@pytest.mark.parametrize("kind", _LISTS)
async def test_a_list_goes_by_an_index(burst: str, kind: str) -> None:
    wanted, index = _LISTS[kind]
    queries: list[tuple[str, tuple[Any, ...]]] = []

    async with await Database.open(burst) as database:
        _record(database, queries)
        if kind == "failed":
            await failures(Reader(database), "default", wanted, after=None, limit=50, include=frozenset())
        else:
            await newest(Reader(database), "default", wanted, limit=50, include=frozenset())
    assert queries
    for sql, values in queries:
        plan = await plan_of(burst, sql, list(values))
        assert read_whole(plan) == set()
        assert index in used(plan), f"{sql}: {sorted(used(plan))}"


_AUDIT: dict[str, tuple[Wanted, set[str]]] = {
    "newest": (Wanted(), {"audit_newest"}),
    "of a time": (Wanted(before=_NOW - timedelta(days=10)), {"audit_newest"}),
    "of a queue": (Wanted(object_kind="queue", object_id="high"), {"audit_of"}),
    "of a job": (Wanted(object_kind="job", object_id=str(_FINAL_IDS[0])), {"audit_of", "audit_of_many"}),
    "of anything": (Wanted(object_id=str(_FINAL_IDS[0])), {"audit_of", "audit_of_many"}),
}


@pytest.mark.parametrize("kind", _AUDIT)
async def test_the_audit_log_is_read_by_an_index(settled: str, kind: str) -> None:
    wanted, indexes = _AUDIT[kind]
    queries: list[tuple[str, tuple[Any, ...]]] = []
    async with await Database.open(settled) as database:
        _record(database, queries)
        for below in (None, (_NOW, 10)):
            await audit.newest(Reader(database), "default", wanted, below=below, limit=50)
    for sql, values in queries:
        plan = await plan_of(settled, sql, list(values))
        assert read_whole(plan) == set()
        assert used(plan) == indexes, sql


def _record(database: Database, queries: list[tuple[str, tuple[Any, ...]]]) -> None:
    from sqlalchemy import event

    def note(_c: object, _cur: object, sql: str, values: Any, _ctx: object, _many: object) -> None:
        if "errander" in sql:
            queries.append((sql, tuple(values)))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)


def test_every_statement_over_tables_names_the_index_it_uses() -> None:
    silent = [
        name
        for name in statements.names()
        if "errander." in statements.load(name, "errander").sql.replace('"errander"', "errander")
        and "-- index: " not in statements.source(name)
    ]
    assert silent == []
