"""Jobs made inside the database, many at a time: what waits, and what has ended long ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import asyncpg

TASK: Final = "demo.echo"
PAYLOAD: Final = (
    '{"customer": "c-1234", "pages": 12, "note": "a payload of about a hundred bytes, as many jobs have one"}'
)
BACKOFF: Final = '{"kind": "exponential", "base": 2.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}'

_CHUNK = 500_000

# Every column that a submit writes; ids grow with the time of submission, as those of the API do.
_WAITING = """
WITH made AS (
    INSERT INTO errander.jobs (
        id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at,
        created_at, tags, metadata
    )
    SELECT uuidv7(), 'default', $2::text, 'default', 'default', 'PENDING', $3::text::jsonb, 5, 3, 300, $4::text::jsonb,
           now() - ($1::int - n) * interval '1 microsecond', now(), '[]', '{}'
    FROM generate_series(1, $1::int) AS n
    RETURNING id, tenant, pool, priority, task, run_at
)
INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at)
SELECT id, tenant, pool, priority, task, run_at FROM made
"""

_FINISHED = """
INSERT INTO errander.jobs (
    id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at, created_at,
    tags, metadata, attempt, worker_id, started_at, finished_at, result
)
SELECT uuidv7(m.moment - now()), 'default', $3::text, 'default', 'default', 'SUCCESS', $4::text::jsonb, 5, 3, 300,
       $5::text::jsonb, m.moment, m.moment, '[]', '{}', 1, '00000000-0000-4000-8000-000000000001', m.moment, m.moment,
       $4::text::jsonb
FROM generate_series($1::int, $2::int) AS n
CROSS JOIN LATERAL (SELECT now() - interval '29 days' + n * interval '200 milliseconds' AS moment) AS m
"""

# Their ends lie before the mark, so nobody will count them any more.
_COUNTED = """
INSERT INTO errander.rollup_totals AS t (tenant, status, jobs) VALUES ('default', 'SUCCESS', $1::int)
ON CONFLICT (tenant, status) DO UPDATE SET jobs = t.jobs + excluded.jobs
"""


async def add_waiting(connection: asyncpg.Connection[Any], n: int, task: str = TASK, payload: str = PAYLOAD) -> None:
    """`n` jobs that are due now, in one statement: they become visible together."""
    await connection.execute(_WAITING, n, task, payload, BACKOFF)


async def add_finished(
    connection: asyncpg.Connection[Any], n: int, *, said: Callable[[str], None] = lambda _: None
) -> None:
    """`n` jobs (at most 12,000,000) that have succeeded, over the last 29 days, and are counted as a leader would have."""
    await connection.execute("SET synchronous_commit = off")
    for first in range(1, n + 1, _CHUNK):
        last = min(n, first + _CHUNK - 1)
        await connection.execute(_FINISHED, first, last, TASK, PAYLOAD, BACKOFF)
        said(f"{last:,} finished jobs")
    await connection.execute(_COUNTED, n)
    await connection.execute("RESET synchronous_commit")
    await connection.execute("VACUUM ANALYZE errander.jobs")
    await connection.execute("CHECKPOINT")
