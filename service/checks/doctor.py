"""What is right and what is wrong with a deployment, as far as one process that reaches its stores can tell.

Each check is a function that yields findings; none changes anything.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from db import diagnosis, revisions, tasks
from db.diagnosis import Server
from db.engine import Database
from db.errors import DatabaseError
from db.roles import ROLE_SETTINGS, role_settings
from db.urls import Encryption, masked
from db.urls import encryption as postgres_encryption
from service.checks.doctor_tls import described, refused_certificate
from service.checks.unreachable import postgres_unreachable
from service.settings import DoctorSettings
from workers.redis_client import connect
from workers.redis_client import encryption as redis_encryption

LOWEST_POSTGRES = 160_000
"""PostgreSQL 16, as `server_version_num` writes it: older ones make no HOT update past a summarising index."""
CLOCK_WARNING = 0.5
"""Seconds two clocks may differ: jobs are then early for one and late for the other by as much."""
CLOCK_FAILURE = 30.0
REDIS_SECONDS = 5.0

_AMOUNT = re.compile(r"^(\d+)(ms|s|min)?$")


class Grade(StrEnum):
    """How a finding counts."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis: what was looked at, what was found, and what to do about it."""

    grade: Grade
    subject: str
    text: str
    todo: str = ""


async def findings(settings: DoctorSettings) -> AsyncIterator[Finding]:
    """Everything, one finding after another."""
    url = settings.database_url.get_secret_value()
    try:
        database = await Database.open(url, schema=settings.db_schema, size=1)
    except (DatabaseError, OSError) as error:
        yield Finding(Grade.FAIL, "postgres", *postgres_unreachable(url, error))
        database = None
    if database is not None:
        for finding in tls_findings("postgres", postgres_encryption(database.dsn, os.environ)):
            yield finding
        async with database:
            async for finding in _database(database, settings):
                yield finding
    async for finding in _redis(settings):
        yield finding


async def _database(database: Database, settings: DoctorSettings) -> AsyncIterator[Finding]:
    try:
        server = await diagnosis.server(database.link, list(ROLE_SETTINGS))
    except DatabaseError as error:
        yield Finding(Grade.FAIL, "postgres", f"does not answer: {error}", "see the log of PostgreSQL")
        return
    yield version_finding(server)
    yield clock_finding("postgres clock", server.offset)
    for finding in role_findings(server):
        yield finding
    current = await revisions.is_current(database.link)
    if not current:
        found = await revisions.current(database.link)
        text = f"is at {found or 'nothing'}, this version needs {revisions.head()}"
        yield Finding(Grade.FAIL, "schema", text, "run `errander migrate`")
        return
    yield Finding(Grade.OK, "schema", f"{settings.db_schema} is at {await revisions.current(database.link)}")
    async for finding in _fleet(database, settings.lease_seconds):
        yield finding


def version_finding(server: Server) -> Finding:
    """Whether PostgreSQL is new enough. Pure."""
    if server.version < LOWEST_POSTGRES:
        return Finding(Grade.FAIL, "postgres", f"is version {server.version_text}", "upgrade to PostgreSQL 16 or newer")
    return Finding(Grade.OK, "postgres", f"version {server.version_text}")


def tls_findings(store: str, found: Encryption) -> list[Finding]:
    """Whether the way to a store is encrypted; nothing where it does not leave this machine. Pure."""
    if found is Encryption.LOCAL:
        return []
    good, text, todo = described(store, found)
    return [Finding(Grade.OK if good else Grade.WARN, f"{store} tls", text, todo)]


def clock_finding(subject: str, offset: float) -> Finding:
    """How far a server's clock is from this machine's. Pure."""
    text = f"differs from this machine's by {abs(offset):.3f} s"
    if abs(offset) >= CLOCK_FAILURE:
        return Finding(Grade.FAIL, subject, text, "synchronise the clocks (NTP): lists filter by time of submission")
    if abs(offset) >= CLOCK_WARNING:
        return Finding(Grade.WARN, subject, text, "synchronise the clocks (NTP)")
    return Finding(Grade.OK, subject, text)


def role_findings(server: Server) -> list[Finding]:
    """The limits that a connection of this role really has. Pure."""
    limits = role_settings(server.version)
    wrong = [
        f"{name} is {server.settings.get(name)}, not {wanted}"
        for name, wanted in limits.items()
        if not same_setting(server.settings.get(name, ""), wanted)
    ]
    if not wrong:
        return [Finding(Grade.OK, "role", f"{server.role} has all {len(limits)} limits")]
    todo = "run `errander migrate` as this role, or set it with ALTER ROLE … SET"
    return [Finding(Grade.WARN, "role", f"{server.role}: {line}", todo) for line in wrong]


_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0}


def same_setting(found: str, wanted: str) -> bool:
    """Whether `5000ms` and `5s` are the same; a number without a unit is in the setting's own. Pure."""
    one, other = _AMOUNT.match(found), _AMOUNT.match(wanted)
    if one is None or other is None:
        return found == wanted
    unit = one[2] or other[2]
    scale = _MILLISECONDS.get(unit, 1.0)
    return float(one[1]) * scale == float(other[1]) * _MILLISECONDS.get(other[2] or unit, 1.0)


async def _fleet(database: Database, lease: float) -> AsyncIterator[Finding]:
    known = await tasks.catalogue(database.link, lease)
    live = {row.name for row in known if row.live}
    idle = sorted({row.name for row in known} - live)
    fleet = await diagnosis.fleet(database.link, lease)
    if fleet.workers:
        yield Finding(Grade.OK, "workers", f"{fleet.workers} live")
    else:
        yield Finding(Grade.WARN, "workers", "none is live: jobs are accepted and wait", "start `errander worker`")
    if fleet.workers and fleet.leader is None:
        yield Finding(
            Grade.WARN, "leader", "there is none: nothing is rescued or pruned", "see the logs of the workers"
        )
    elif fleet.leader is not None:
        yield Finding(Grade.OK, "leader", f"worker {fleet.leader}")
    if not known:
        yield Finding(
            Grade.WARN, "tasks", "none is known", "start a worker with --tasks, or run `errander tasks announce`"
        )
    elif idle:
        text = f"no live worker has {', '.join(idle[:10])}{' …' if len(idle) > 10 else ''}"
        yield Finding(Grade.WARN, "tasks", text, "their jobs wait; start a worker that has them, or cancel the jobs")
    else:
        yield Finding(Grade.OK, "tasks", f"{len(live)} known, a live worker for each")


async def _redis(settings: DoctorSettings) -> AsyncIterator[Finding]:
    url = settings.redis_url.get_secret_value()
    try:
        client = connect(url)
    except ValueError as error:
        yield Finding(Grade.FAIL, "redis", str(error), "correct REDIS_URL")
        return
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            for check in (_redis_server, _redis_policy, _redis_clock):
                yield await check(client)
        for finding in tls_findings("redis", redis_encryption(url)):
            yield finding
    except (RedisError, OSError, TimeoutError) as error:
        text = f"{masked(url)} cannot be reached: {error or type(error).__name__}"
        todo = refused_certificate("redis", str(error)) or "check REDIS_URL"
        yield Finding(Grade.FAIL, "redis", text, f"jobs run without it, but start up to a second later; {todo}")
    finally:
        await client.aclose()


async def _redis_server(client: Redis) -> Finding:
    info: dict[str, Any] = await client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version") or "unknown"
    return Finding(Grade.OK, "redis", f"{name} {version}")


async def _redis_policy(client: Redis) -> Finding:
    info: dict[str, Any] = await client.info("memory")
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return Finding(Grade.OK, "redis memory", "maxmemory-policy is noeviction")
    todo = "set maxmemory-policy noeviction: a store that drops hints makes jobs start later"
    return Finding(Grade.WARN, "redis memory", f"maxmemory-policy is {policy}", todo)


async def _redis_clock(client: Redis) -> Finding:
    asked = time.time()
    seconds, micros = await client.time()
    middle = (asked + time.time()) / 2
    return clock_finding("redis clock", seconds + micros / 1e6 - middle)
