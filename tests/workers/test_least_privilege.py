"""The role of PostgreSQL and the user of Redis that `docs/security.md` advises: enough for everything, and no more.

What the page says is run as it stands there, with a name of the test's own for the database.
"""

import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import redis
import redis.asyncio
from limits import RateLimitItemPerSecond
from pydantic import SecretStr
from redis.exceptions import NoPermissionError

from db import migrate, statements, workers
from db.consistency import Limits
from db.engine import Database
from service.auth.issuing import Wish, issue
from service.checks.consistency import Check
from service.checks.consistency_hints import HintLimits
from service.checks.doctor import Grade, findings
from service.limits.counters import Counters
from service.limits.rates import Rate
from service.main import create_app
from service.settings import DoctorSettings
from tests.api.conftest import running, settings_for
from tests.architecture.tree import ROOT
from tests.fixtures.servers import Databases
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker
from workers.hints import MANY, Hint, Hints
from workers.loops.pruner import Pruner
from workers.loops.rollups import Rollups
from workers.redis_client import connect

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
BEFORE, AFTER = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(REDIS_USER,) = re.findall(r"^user errander on >PASSWORD (.+)$", PAGE, re.MULTILINE)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture
def app_url(databases: Databases) -> Iterator[str]:
    """A database made as the page says, and what API and workers connect to."""
    name = databases.create()
    plain = databases.server.url_of(name)

    def as_role(role: str, password: str) -> str:
        parts = urlsplit(plain)
        return parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}").geturl()

    async def run(url: str, text: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(text.replace("DATABASE errander ", f'DATABASE "{name}" '))
        finally:
            await connection.close()

    owner = as_role("errander_owner", "one")
    try:
        databases.run(run(plain, BEFORE))
        databases.run(migrate.upgrade(owner))
        databases.run(run(owner, AFTER))
        databases.run(migrate.upgrade(owner))
        yield as_role("errander_app", "another")
    finally:
        databases.drop(name)
        databases.run(run(databases.server.url_of("postgres"), "DROP ROLE errander_app; DROP ROLE errander_owner"))


async def test_everything_but_migrations_works_under_the_role_of_the_page(
    app_url: str, redis_url: str, run_worker: RunWorker
) -> None:
    async with await Database.open(app_url) as database:
        async with database.begin() as link:
            for name in statements.names():
                # checks every right that the statement needs, whatever its values
                sql = statements.load(name, "errander").sql
                await link.executor.execute(f"EXPLAIN (GENERIC_PLAN) {sql}")
        # owners alone may bring an index up to date by hand; the loop says so once and goes on
        await Rollups(database).run_once()
        await Pruner(database.link, days={}, idempotency_hours=24, audit_days=1).run_once()
        app = create_app(settings_for(app_url, redis_url))
        async with run_worker(database_url=app_url) as worker, running(app) as api:
            await uses_everything(api)
            await eventually(lambda: worker.process.control.leads)
            await workers.request_drain(database.link, worker.process.id)
            await worker.ended()
    doctor = DoctorSettings(database_url=SecretStr(app_url), redis_url=SecretStr(redis_url))
    found = {finding.subject: finding async for finding in findings(doctor)}
    assert found["role"].grade is Grade.OK, found["role"]
    assert found["schema"].grade is Grade.OK
    assert await checked(app_url, redis_url) == set()


async def checked(database_url: str, redis_url: str) -> set[str]:
    """What `errander fsck --repair` finds."""
    async with await Database.open(database_url) as database:
        check = Check(database, redis_url, Limits(), HintLimits(), repair=True)
        return set((await check.run()).found)


async def uses_everything(api: httpx.AsyncClient, **headers: str) -> None:
    """What clients do, in one go."""

    async def ask(method: str, path: str, status: int = 200, **options: object) -> dict[str, object]:
        answer = await api.request(method, path, headers=headers, **options)  # type: ignore[arg-type]  # httpx's own
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        found: dict[str, object] = answer.json()
        return found

    job = {"task": "fault.quick", "payload": {"n": 1}, "tags": ["a"], "metadata": {"b": "c"}}
    await ask("GET", "/readyz")
    done = await ask("POST", "/v1/jobs?wait=20", json=job)
    assert done["status"] == "SUCCESS"
    later = (await ask("POST", "/v1/jobs", 202, json={**job, "delay": 3000}))["id"]
    await ask("PATCH", f"/v1/jobs/{later}", json={"priority": "low"})
    await ask("POST", f"/v1/jobs/{later}/cancel", json={"reason": "no"})
    await ask("POST", f"/v1/jobs/{later}/replay", json={"delay": 3000})
    await ask("POST", f"/v1/jobs/{later}/run-now")
    items = {"jobs": [{**job, "idempotency_key": str(n)} for n in range(3)]}
    await ask("POST", "/v1/jobs/batch", 202, json=items)
    for path in ("/v1/jobs?metadata.b=c&payload.n=1", f"/v1/jobs/{later}", f"/v1/jobs/{later}/history", "/v1/stats"):
        await ask("GET", path)
    for path in ("/v1/queues", "/v1/tasks", "/v1/workers", "/v1/dead-letter", "/v1/audit"):
        await ask("GET", path)
    await ask("POST", "/v1/queues/low/pause", json={"reason": "x"})
    await ask("POST", "/v1/queues/low/resume")
    await ask("POST", "/v1/jobs/cancel", json={"filter": {"tag": ["a"]}})


FORBIDDEN = (
    "CREATE TABLE errander.mine (n int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "DROP TABLE errander.jobs",
    "TRUNCATE errander.jobs",
    "ALTER TABLE errander.jobs DROP CONSTRAINT jobs_pkey",
    "ALTER TABLE errander.audit DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "UPDATE errander.alembic_version SET version_num = 'x'",
    "COPY errander.jobs TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "ALTER SYSTEM SET fsync = off",
)


async def test_the_role_of_the_page_may_do_nothing_else(app_url: str) -> None:
    connection = await asyncpg.connect(app_url)
    try:
        for statement in FORBIDDEN:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


# -- Redis -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def user_url(redis_url: str) -> Iterator[str]:
    """The user of the page, and what API and workers connect to."""
    password = secrets.token_hex(8)
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "errander", "reset", "on", f">{password}", *REDIS_USER.split())
        client.acl_log_reset()
        yield re.sub("//:[^@]*@", f"//errander:{password}@", redis_url)
        client.acl_deluser("errander")


async def test_everything_works_for_the_redis_user_of_the_page(
    user_url: str, redis_client: redis.asyncio.Redis, database: Database, database_url: str, run_worker: RunWorker
) -> None:
    await redis_client.script_flush()  # others have loaded them before
    limits = {"rate_limit_key": "900/minute", "rate_limit_tenant": "9000/minute"}
    settings = settings_for(database_url, user_url, auth="required", jwt_secret=secrets.token_hex(32), **limits)
    _, key = await issue(database.link, b"", Wish("default", "test", ["admin"], "test"))
    async with run_worker(redis_url=user_url), running(create_app(settings)) as api:
        await uses_everything(api, Authorization=f"Bearer {key}")
    client = connect(user_url)
    async with client:
        many = [Hint(row["id"], "default", "low", 0.0) for row in await ids(database)] * MANY
        await Hints(client).publish(many[:MANY])
        await Hints(client).publish([*many[:1], Hint(many[1].id, "gpu", "low", 0.0)])
        await Hints(client).mark_deep("errander:low", "x")
        await Hints(client).clear_deep("errander:low", "x")
    await redis_client.zadd("errander:default", {"no id": 0})
    await redis_client.set(f"arq:job:{many[0].id}", "a call without its hint")
    await redis_client.set("errander:high:deep", "")
    assert await checked(database_url, user_url) == set()
    doctor = DoctorSettings(database_url=SecretStr(database_url), redis_url=SecretStr(user_url))
    graded = {finding.subject: finding.grade async for finding in findings(doctor)}
    assert graded["redis"] is Grade.OK
    await counts(user_url, redis_client)
    assert await redis_client.acl_log() == [], "nothing was refused"


async def counts(user_url: str, redis_client: redis.asyncio.Redis) -> None:
    """What rate limits do to Redis, until one window has followed another."""
    counters = Counters(user_url, patience=5.0)
    rate = Rate("test", RateLimitItemPerSecond(2000))

    async def slid() -> bool:
        assert await counters.ask(rate, "somebody", lambda count: count.take(1))
        assert counters.is_shared
        return any([name.endswith(b"/-1") async for name in redis_client.scan_iter("errander:limit*")])

    await eventually(slid, 20)
    await counters.stop()


async def ids(database: Database) -> list[asyncpg.Record]:
    """The jobs that are there."""
    return await database.link.executor.fetch("SELECT id FROM errander.jobs")


REFUSED = (
    "GET other",
    "SET other 1",
    "PUBLISH other 1",
    "KEYS *",
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET requirepass",
    "EVAL 'return1' 0",
    "FUNCTION LIST",
    "MODULE LIST",
    "ACL LIST",
    "CLIENT LIST",
    "MONITOR",
    "SHUTDOWN",
    "REPLICAOF no one",
    "MIGRATE h 1 k 0 1",
    "SCRIPT FLUSH",
)


async def test_the_redis_user_of_the_page_may_do_nothing_else(user_url: str) -> None:
    async with connect(user_url) as client:
        for command in REFUSED:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())  # type: ignore[no-untyped-call]  # redis-py 5
