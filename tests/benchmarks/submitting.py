"""Submits: one job a request against a request that does nothing, and batches against a bare INSERT of the same rows."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import asyncpg
from uuid_utils.compat import uuid7

from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import BACKOFF, PAYLOAD, TASK
from tests.benchmarks.ground import Ground, Ledger
from tests.benchmarks.load import Load, Taken, run
from tests.benchmarks.noop import FLOOR, NOOP
from tests.benchmarks.programs import Program
from tests.benchmarks.rows import row

BODY: Final = json.dumps({"task": TASK, "payload": json.loads(PAYLOAD)})
_PATHS: Final = {"noop": NOOP, "unkeyed": "/v1/jobs", "floor": FLOOR, "keyed": "/v1/jobs"}
_BATCH = 10_000
_BATCHES = 3
_QUICK_BATCH = 2_000

# The same columns as our own statement writes, all of them as arrays, for nothing about the rows is known beforehand.
_BARE = """
INSERT INTO bare (id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at,
    created_at, tags, metadata)
SELECT g.id, 'default', g.task, g.pool, g.priority, 'PENDING', g.payload, g.max_attempts, g.max_crashes, g.timeout,
    g.backoff, now(), now(), g.tags, g.metadata
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::int[], $7::int[], $8::float8[],
    $9::jsonb[], $10::jsonb[], $11::jsonb[])
    AS g (id, task, pool, priority, payload, max_attempts, max_crashes, timeout, backoff, tags, metadata)
"""


async def submit(ground: Ground) -> list[Row]:
    """Requests a second, unkeyed and keyed, against those of routes that do nothing."""
    rates: dict[str, list[float]] = {kind: [] for kind in _PATHS}
    notes: set[str] = set()
    async with ground.database() as ledger:
        api = await ground.programs.api_with_noop(ledger.environment)
        for number in range(ground.sizes.rounds):
            for kind in list(rates)[:: 1 if number % 2 == 0 else -1]:
                taken = await run(_load(kind, api, ground.sizes.seconds))
                rates[kind].append(taken.rate)
                notes |= limits(taken)
                await ledger.empty()
        ground.programs.end(api)
    found = {kind: Series.of(numbers) for kind, numbers in rates.items()}
    said = tuple(sorted(notes))
    return [
        row("submit.unkeyed", found["unkeyed"], found["noop"], notes=said),
        row("submit.keyed", found["keyed"], found["noop"]),
        row("submit.floor", found["unkeyed"], found["floor"]),
    ]


def limits(taken: Taken) -> set[str]:
    """What must be said about a load that was limited by its sender."""
    return {"the sender was the limit: the server may be faster"} if taken.is_sender_the_limit else set()


def _load(kind: str, api: Program, seconds: float) -> Load:
    return Load(api.port, "POST", (_PATHS[kind],), BODY, keyed=kind == "keyed", seconds=seconds)


async def bulk(ground: Ground) -> list[Row]:
    """Jobs a second in batches over HTTP, against the bare statement over one connection."""
    size = _QUICK_BATCH if ground.sizes.quick else _BATCH
    body = json.dumps({"jobs": [{"task": TASK, "payload": json.loads(PAYLOAD) | {"n": n}} for n in range(size)]})
    load = Load(0, "POST", ("/v1/jobs/batch",), body, connections=1, seconds=max(3.0, ground.sizes.seconds))
    ours: list[float] = []
    bare: list[float] = []
    async with ground.database() as ledger:
        await ledger.connection.execute("CREATE TABLE bare (LIKE errander.jobs INCLUDING ALL)")
        api = await ground.programs.api(ledger.environment)
        for number in range(ground.sizes.rounds):
            for kind in ("ours", "bare")[:: 1 if number % 2 == 0 else -1]:
                if kind == "ours":
                    taken = await run(Load(**{**_fields(load), "port": api.port}))
                    # By the time of each, because only a few whole ones fit into the time.
                    ours.append(size / taken.mean)
                    await ledger.empty()
                else:
                    bare.append(await _bare(ledger, size))
        ground.programs.end(api)
    return [row("bulk.rate", Series.of(ours), Series.of(bare), words={"batch": f"{size:,}"})]


def _fields(load: Load) -> dict[str, Any]:
    return {name: getattr(load, name) for name in load.__slots__}


async def _bare(ledger: Ledger, size: int) -> float:
    """Rows a second of the statement that nothing stands around, a transaction each, prepared once."""
    statement: asyncpg.prepared_stmt.PreparedStatement[Any] = await ledger.connection.prepare(_BARE)
    took = 0.0
    for _ in range(_BATCHES):
        ids = [uuid7() for _ in range(size)]
        payloads = [json.dumps(json.loads(PAYLOAD) | {"n": n}) for n in range(size)]
        same = [[value] * size for value in (TASK, "default", "default", 5, 3, 300.0, BACKOFF, "[]", "{}")]
        began = time.perf_counter()
        await statement.fetch(ids, *same[:3], payloads, *same[3:])
        took += time.perf_counter() - began
    await ledger.connection.execute("TRUNCATE bare")
    return _BATCHES * size / took
