"""Reading what is known out of PostgreSQL and Redis at the end of a run. Past all proxies, after everybody has left."""

import json
from datetime import datetime
from typing import Any

import redis.asyncio

from db.consistency import Limits, examine
from db.consistency_rules import RULES, Found, Severity
from db.engine import Database
from db.errors import DatabaseError
from service.chaos.evidence import Event, Evidence, JobId, JobRow
from service.chaos.fleet import HINT_HORIZON_SECONDS, HINT_WINDOW, LEASE_SECONDS
from service.chaos.servers import Postgres, Valkey
from service.chaos.workload import MARK, POOLS, PRIORITIES
from service.checks.consistency import RULES as ALL_RULES
from service.checks.consistency import Check
from service.checks.consistency_hints import HintLimits
from workers.hints import queue_name

_LIMITS = Limits(lease=LEASE_SECONDS)
_READ_SECONDS = 300.0  # whole tables of a run of hours
_JOBS = """
SELECT id, tenant, metadata ->> '{mark}' AS token, task, status, attempt, failures, crashes, replays, max_attempts, max_crashes,
       run_at, created_at, started_at, finished_at, cancelled_by, idempotency_key, worker_id, result, errors
FROM errander.jobs
"""
_HISTORY = "SELECT job_id, at, event, status, attempt, worker_id, detail FROM errander.history ORDER BY id"
_DEAD = "SELECT id, dead_at FROM errander.workers WHERE dead_at IS NOT NULL"
_UNFINISHED = "SELECT count(*) AS n FROM errander.jobs WHERE finished_at IS NULL"


async def stores(evidence: Evidence, postgres: Postgres, valkey: Valkey) -> None:
    """Takes in the rows, the history, the ends of leases and the hints, and checks all of it in full."""
    for row in await postgres.ask(_JOBS.format(mark=MARK), _READ_SECONDS):
        evidence.rows[JobId(str(row["id"]))] = _job(row)
    for row in await postgres.ask(_HISTORY, _READ_SECONDS):
        evidence.events.setdefault(JobId(str(row["job_id"])), []).append(_event(row))
    evidence.dead_at = {str(row["id"]): row["dead_at"].timestamp() for row in await postgres.ask(_DEAD, _READ_SECONDS)}
    evidence.hinted = await _hinted(valkey)
    evidence.fsck = await _fsck(postgres, valkey)


async def unfinished(postgres: Postgres) -> int:
    """How many jobs have not ended. Raises what the driver raises."""
    return int((await postgres.ask(_UNFINISHED))[0]["n"])


async def look(postgres: Postgres) -> list[str]:
    """What a snapshot of the tables shows that can never be so, faults or no faults; nothing where it cannot be had."""
    try:
        async with await Database.open(postgres.url, size=1) as database:
            found = (await examine(database, _LIMITS)).found
    except (DatabaseError, OSError, TimeoutError):
        return []
    return [_words(one) for one in found.values() if _is_error(one.code) and not RULES[one.code].passing]


async def _fsck(postgres: Postgres, valkey: Valkey) -> list[str]:
    async with await Database.open(postgres.url, size=2) as database:
        limits = HintLimits(HINT_WINDOW, HINT_HORIZON_SECONDS)
        report = await Check(database, valkey.url, _LIMITS, limits).run(full=True)
    return [_words(one) for one in report.found.values() if _is_error(one.code)]


async def _hinted(valkey: Valkey) -> frozenset[str]:
    client = redis.asyncio.Redis.from_url(valkey.url)
    found: set[str] = set()
    try:
        for pool in POOLS:
            for priority in PRIORITIES:
                members = await client.zrange(queue_name(pool, priority), 0, -1)
                found |= {member.decode("ascii", "backslashreplace") for member in members}
    finally:
        await client.aclose()
    return frozenset(found)


def _is_error(code: str) -> bool:
    return ALL_RULES[code].severity is Severity.ERROR


def _words(found: Found) -> str:
    return f"{found.code}: {found.count}: {ALL_RULES[found.code].message} ({', '.join(found.examples)})"


def _job(row: Any) -> JobRow:
    return JobRow(
        id=JobId(str(row["id"])),
        token=row["token"] or "",
        task=row["task"],
        status=row["status"],
        tenant=row["tenant"],
        attempt=row["attempt"],
        failures=row["failures"],
        crashes=row["crashes"],
        replays=row["replays"],
        max_attempts=row["max_attempts"],
        max_crashes=row["max_crashes"],
        run_at=row["run_at"].timestamp(),
        created_at=row["created_at"].timestamp(),
        started_at=_seconds(row["started_at"]),
        finished_at=_seconds(row["finished_at"]),
        cancelled_by=row["cancelled_by"],
        key=row["idempotency_key"],
        worker=None if row["worker_id"] is None else str(row["worker_id"]),
        result=json.loads(row["result"] or "null"),
        errors=tuple(json.loads(row["errors"])),
    )


def _event(row: Any) -> Event:
    return Event(
        at=row["at"].timestamp(),
        name=row["event"],
        status=row["status"],
        attempt=row["attempt"],
        worker=None if row["worker_id"] is None else str(row["worker_id"]),
        detail=json.loads(row["detail"] or "{}"),
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
