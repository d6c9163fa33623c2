"""TLS to PostgreSQL and to Redis, by a certificate authority of the test's own.

The embedded servers speak none, so a TLS end of the test's own stands in front of each; clients see no difference.
"""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError
from sqlalchemy import text

from db import migrate, revisions
from db.engine import Database
from db.errors import Unavailable
from service.checks.doctor import Grade, findings
from service.settings import DoctorSettings
from tests.fixtures.certificates import Authority, in_front_of
from tests.fixtures.jobs import JobBook
from tests.workers.conftest import RunWorker
from workers.redis_client import connect


@dataclass
class Stores:
    """Both stores behind TLS, and where they are without it."""

    plain_database: str
    plain_redis: str
    authority: Authority
    folder: Path

    @contextlib.contextmanager
    def behind(self, context: ssl.SSLContext) -> Iterator[tuple[str, str]]:
        """Addresses of PostgreSQL and of Redis behind one certificate; each ends in its query's `?`."""
        database, redis = urlsplit(self.plain_database), urlsplit(self.plain_redis)
        assert database.port is not None
        assert redis.port is not None
        with (
            in_front_of(database.port, context, postgres=True) as postgres_port,
            in_front_of(redis.port, context) as redis_port,
        ):
            there = self.plain_database.replace(f":{database.port}/", f":{postgres_port}/")
            hints = self.plain_redis.replace(f":{redis.port}/", f":{redis_port}/").replace("redis:", "rediss:")
            yield f"{there}?", f"{hints}?"


@pytest.fixture
def stores(database_url: str, redis_url: str, tmp_path: Path) -> Stores:
    """This test's database and Redis."""
    return Stores(database_url, redis_url, Authority(tmp_path), tmp_path)


async def reaches_postgres(url: str) -> bool:
    """Whether the hot door and the engine's both open; raises what the first raises."""
    async with await Database.open(url, size=1) as database:
        assert await revisions.is_current(database.link)
        async with database.engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    return True


async def reaches_redis(url: str, timeout: float = 5.0) -> bool:
    """Whether it answers; raises what the client raises."""
    client = connect(url, timeout=timeout)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def test_a_worker_runs_over_verified_tls_with_a_certificate_of_its_own(
    stores: Stores, run_worker: RunWorker, book: JobBook
) -> None:
    certificate, key = stores.authority.issue("worker")
    ca = stores.authority.path
    with stores.behind(stores.authority.server("127.0.0.1", ask_clients=True)) as (postgres, valkey):
        database = f"{postgres}sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}"
        redis = f"{valkey}ssl_ca_certs={ca}&ssl_certfile={certificate}&ssl_keyfile={key}"
        await migrate.upgrade(database)
        assert await reaches_postgres(database)
        assert await reaches_redis(redis)
        async with run_worker(database_url=database, redis_url=redis, head=0.3):
            await book.succeeds(await book.submit("fault.quick", {"n": 1}))


async def test_who_has_no_certificate_is_not_let_in_where_one_is_asked_for(stores: Stores) -> None:
    ca = stores.authority.path
    with stores.behind(stores.authority.server("127.0.0.1", ask_clients=True)) as (database, redis):
        with pytest.raises(Unavailable):
            await reaches_postgres(f"{database}sslmode=verify-full&sslrootcert={ca}")
        with pytest.raises((RedisAway, OSError)):
            await reaches_redis(f"{redis}ssl_ca_certs={ca}")


@pytest.mark.parametrize(
    ("postgres_mode", "redis_mode", "taken"),
    [
        ("sslmode=verify-full", "", False),
        ("sslmode=verify-ca", "ssl_check_hostname=false", True),
        ("sslmode=require", "ssl_check_hostname=false", True),
    ],
)
async def test_the_name_of_the_server_is_checked_where_it_is_asked_for(
    stores: Stores, postgres_mode: str, redis_mode: str, taken: bool
) -> None:
    ca = stores.authority.path
    with stores.behind(stores.authority.server("db.example")) as (postgres, valkey):
        database = f"{postgres}{postgres_mode}&sslrootcert={ca}"
        redis = f"{valkey}ssl_ca_certs={ca}&{redis_mode}"
        if taken:
            assert await reaches_postgres(database)
            assert await reaches_redis(redis)
        else:
            with pytest.raises(Unavailable, match="IP address mismatch"):
                await reaches_postgres(database)
            with pytest.raises(RedisAway, match="IP address mismatch"):
                await reaches_redis(redis)


async def test_a_certificate_of_another_authority_is_refused(stores: Stores) -> None:
    other = Authority(stores.folder, "other").path
    with stores.behind(stores.authority.server("127.0.0.1")) as (database, redis):
        for mode in ("verify-full", "verify-ca", "require"):
            with pytest.raises(Unavailable, match=r"(?i)certificate.verify.failed"):
                await reaches_postgres(f"{database}sslmode={mode}&sslrootcert={other}")
        with pytest.raises(RedisAway, match=r"(?i)certificate.verify.failed"):
            await reaches_redis(f"{redis}ssl_ca_certs={other}")
        with pytest.raises(RedisAway, match=r"(?i)certificate.verify.failed"):
            await reaches_redis(redis)  # nor is it one of the machine's
        assert await reaches_redis(f"{redis}ssl_cert_reqs=none")


async def test_what_must_be_encrypted_does_not_go_on_in_clear(stores: Stores) -> None:
    """The embedded servers speak no TLS: an address that demands it finds nobody."""
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(Unavailable):
            await reaches_postgres(f"{stores.plain_database}?sslmode={mode}&sslrootcert={stores.authority.path}")
    with pytest.raises(RedisError):  # such a server waits for the rest of what it takes for a command
        await reaches_redis(stores.plain_redis.replace("redis:", "rediss:"), timeout=0.2)
    assert await reaches_postgres(f"{stores.plain_database}?sslmode=prefer"), "as libpq has it: only if it is offered"


async def said(database_url: str, redis_url: str) -> dict[str, tuple[Grade, str]]:
    """What the doctor says of the two stores."""
    settings = DoctorSettings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url))
    return {found.subject: (found.grade, f"{found.text} → {found.todo}") async for found in findings(settings)}


async def test_the_doctor_says_why_a_certificate_was_refused_and_what_to_do(stores: Stores) -> None:
    ca, other = stores.authority.path, Authority(stores.folder, "other").path
    with stores.behind(stores.authority.server("db.example")) as (database, redis):
        told = await said(f"{database}sslmode=verify-full&sslrootcert={ca}", f"{redis}ssl_ca_certs={ca}")
        for store in ("postgres", "redis"):
            grade, words = told[store]
            assert grade is Grade.FAIL
            assert "connect by a name that stands in the server's certificate" in words
        told = await said(f"{database}sslmode=verify-full&sslrootcert={other}", f"{redis}ssl_ca_certs={other}")
        assert "name the authority of the server's certificate: sslrootcert" in told["postgres"][1]
        assert "name the authority of the server's certificate: ssl_ca_certs" in told["redis"][1]
        told = await said(
            f"{database}sslmode=verify-full&sslrootcert=/nowhere.pem", f"{redis}ssl_ca_certs=/nowhere.pem"
        )
        assert "sslrootcert=/nowhere.pem cannot be read" in told["postgres"][1]
        assert "ssl_ca_certs=/nowhere.pem cannot be read" in told["redis"][1]
    password = urlsplit(stores.plain_database).password
    assert password
    assert password not in str(told)


async def test_arqs_own_health_check_uses_the_same_tls(
    stores: Stores, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arq.connections import create_pool

    from workers.arq_worker import settings_class

    ca = stores.authority.path
    with stores.behind(stores.authority.server("127.0.0.1")) as (database, redis):
        monkeypatch.setenv("DATABASE_URL", f"{database}sslmode=verify-full&sslrootcert={ca}")
        monkeypatch.setenv("REDIS_URL", f"{redis}ssl_ca_certs={ca}")
        settings = settings_class("Settings").redis_settings  # type: ignore[attr-defined]  # made by hand for arq
        settings.conn_retries = 0
        pool = await create_pool(settings)
        assert await pool.ping()
        await pool.aclose()
        assert settings.ssl_check_hostname is True
