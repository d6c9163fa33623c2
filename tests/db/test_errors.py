"""The driver's errors as ours: what a caller may conclude from each."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import false, func, literal, select

from db import attempts
from db.engine import Database
from db.errors import BadRow, DatabaseError, Locked, Refused, SchemaBehind, SettingsError, Unavailable, translate
from db.lifecycle import JobStatus
from db.reading import Reader, TooSlow
from tests.db.racing import impatient
from tests.db.scene import Scene
from tests.fixtures.servers import Databases
from tests.fixtures.waiting import eventually


async def test_a_lock_that_is_not_granted_in_time_is_locked_and_nothing_changed(scene: Scene) -> None:
    job = await scene.job()
    async with scene.database.begin() as other:
        await other.fetch("lock_jobs", ids=[job], tenant="default")
        with pytest.raises(Locked):
            async with scene.database.begin() as link:
                await impatient(link, 50)
                await link.fetch("lock_jobs", ids=[job], tenant="default")
    assert await scene.status(job) == "PENDING"


async def test_a_deadlock_is_locked(scene: Scene) -> None:
    one, two = await scene.job(), await scene.job()

    async def both(first: Any, second: Any, met: asyncio.Barrier) -> None:
        async with scene.database.begin() as link:
            await link.fetch("lock_jobs", ids=[first], tenant="default")
            await met.wait()
            await link.fetch("lock_jobs", ids=[second], tenant="default")

    met = asyncio.Barrier(2)
    ends = await asyncio.gather(both(one, two, met), both(two, one, met), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Locked", "NoneType"]


@pytest.mark.parametrize(
    "result",
    ["no json", '"a\\u0000b"', '"\\ud800"', "NaN", "1e400000", "9" * 200_000, "[" * 20_000 + "]" * 20_000],
    ids=["no JSON", "NUL", "half a surrogate", "NaN", "huge exponent", "too many digits", "too deep"],
)
async def test_a_value_that_cannot_be_stored_is_a_bad_row_and_nothing_of_its_batch_is(
    scene: Scene, result: str
) -> None:
    worker = await scene.worker()
    bad, good = [(await scene.job("RUNNING", worker=worker), 1) for _ in range(2)]
    with pytest.raises(BadRow):
        await attempts.succeed(
            scene.link, worker=worker, ids=[bad[0], good[0]], attempts=[1, 1], results=[result, "{}"]
        )
    assert {await scene.status(bad[0]), await scene.status(good[0])} == {"RUNNING"}


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), 1e300, 1e15])
async def test_a_delay_that_is_no_time_is_a_bad_row(scene: Scene, delay: float) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    with pytest.raises(BadRow):
        await scene.finish("snooze", worker, (job, 1), delays=delay)
    assert await scene.status(job) == "RUNNING"


async def test_a_row_that_breaks_a_rule_is_a_bad_row(scene: Scene) -> None:
    with pytest.raises(BadRow):
        await scene.link.fetch("pause_queue", pool="default", priority="urgent", reason=None)


async def test_what_the_driver_cannot_send_is_a_bad_row(scene: Scene) -> None:
    with pytest.raises(BadRow):
        await scene.link.fetch("pause_queue", pool=5, priority="low", reason=None)
    with pytest.raises(BadRow):
        await scene.link.fetch("pause_queue", pool="half a \ud800 pair", priority="low", reason=None)


async def test_a_connection_that_is_killed_is_unavailable_and_the_next_call_works(scene: Scene) -> None:
    async with scene.database.begin() as other:
        job = await scene.job()
        await other.fetch("lock_jobs", ids=[job], tenant="default")

        async def lock() -> None:
            async with scene.database.begin() as link:
                await link.fetch("lock_jobs", ids=[job], tenant="default")

        waiting = asyncio.create_task(lock())
        await eventually(
            lambda: scene.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        with pytest.raises(Unavailable):
            await waiting
    assert await scene.status(job) == "PENDING"


async def test_a_statement_that_takes_too_long_is_unavailable(scene: Scene) -> None:
    with pytest.raises(Unavailable):
        async with scene.database.begin() as link:
            await link.executor.execute("SET LOCAL statement_timeout = '20ms'")
            await link.executor.execute("SELECT pg_sleep(5)")


async def test_a_database_without_the_schema_is_behind(empty_database_url: str) -> None:
    async with await Database.open(empty_database_url) as database:
        with pytest.raises(SchemaBehind, match="errander migrate"):
            await database.link.fetch("worker_beats")


async def test_a_schema_that_lacks_a_column_is_behind(scene: Scene) -> None:
    await scene.ask("ALTER TABLE errander.workers DROP COLUMN beat_at")
    with pytest.raises(SchemaBehind):
        await scene.link.fetch("worker_beats")


@pytest.fixture
async def away(databases: Databases) -> AsyncIterator[str]:
    """The address of a database that is not there."""
    yield databases.server.url_of("nowhere")


async def test_a_database_that_is_not_there_is_unavailable(away: str) -> None:
    with pytest.raises(Unavailable):
        await Database.open(away)
    async with await Database.open(away, ready=False) as database:
        with pytest.raises(Unavailable):
            await database.link.fetch("worker_beats")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Database.open("postgresql://nobody@127.0.0.1:1/none")


async def test_a_schema_name_that_is_none_is_refused(database_url: str) -> None:
    async with await Database.open(database_url, schema='x"; drop') as database:
        with pytest.raises(SettingsError):
            await database.link.fetch("worker_beats")


async def test_binds_that_are_not_the_statements_own_are_refused(scene: Scene) -> None:
    with pytest.raises(TypeError, match=r"resume_task\.sql: missing \['task'\], not known \['tusk'\]"):
        await scene.link.fetch("resume_task", tusk="t")


def test_what_is_not_the_databases_doing_stays_what_it_is() -> None:
    assert translate(ZeroDivisionError()) is None
    assert translate(KeyError("x")) is None


def test_every_error_that_postgresql_has_is_ours_and_only_mistakes_of_a_statement_are_refused() -> None:
    refused: set[str] = set()
    kinds = [kind for kind in vars(asyncpg.exceptions).values() if isinstance(kind, type)]
    for kind in kinds:
        if issubclass(kind, asyncpg.PostgresError) and kind.sqlstate:
            ours = translate(kind("told"))
            assert isinstance(ours, DatabaseError)
            if isinstance(ours, Refused):
                refused.add(str(kind.sqlstate)[:2])
    # what is left: syntax (42), transaction states (25, 2D, 3B), cursors, dynamic SQL and the like: mistakes in a statement
    assert refused.isdisjoint({"08", "22", "23", "28", "3D", "53", "54", "57", "58", "XX"}), sorted(refused)


@pytest.mark.parametrize(
    ("kind", "state", "hint"),
    [
        (asyncpg.DuplicatePreparedStatementError, "42P05", True),
        (asyncpg.InvalidSQLStatementNameError, "26000", True),
        (asyncpg.FeatureNotSupportedError, "0A000", False),
        (asyncpg.RaiseError, "P0001", False),
    ],
)
def test_a_refused_statement_says_why_and_what_a_pooler_has_to_do_with_it(
    kind: type[asyncpg.PostgresError], state: str, hint: bool
) -> None:
    ours = translate(kind("told"))
    assert isinstance(ours, Refused)
    assert ours.sqlstate == state
    assert str(ours).startswith(f"told (SQLSTATE {state})")
    assert ("PgBouncer in docs/configuration.md" in str(ours)) is hint


async def test_a_statement_that_postgresql_refuses_is_ours_and_the_connection_goes_on(scene: Scene) -> None:
    with pytest.raises(Refused, match="SQLSTATE 42601"):
        async with scene.database.begin() as link:
            await link.executor.execute("SELEC 1")
    assert len(await scene.ask("SELECT 1")) == 1


async def test_a_transaction_that_lasts_too_long_is_unavailable(scene: Scene) -> None:
    (version,) = await scene.ask("SELECT current_setting('server_version_num')::int AS number")
    if version["number"] < 170_000:
        pytest.skip("PostgreSQL 17 and later")
    with pytest.raises(Unavailable):
        async with scene.database.begin() as link:
            await link.executor.execute("SET LOCAL transaction_timeout = 0")  # ends that of the role, which runs
            await link.executor.execute("SET LOCAL transaction_timeout = '20ms'")
            await link.executor.execute("SELECT pg_sleep(5)")


async def test_what_sqlalchemy_has_wrapped_is_ours_too(scene: Scene) -> None:
    reader = Reader(scene.database)
    with pytest.raises(BadRow, match="division by zero"):
        await reader.rows(select(literal(1).op("/")(func.abs(0))))
    await reader.rows(select(func.set_config("statement_timeout", "20ms", false())))
    with pytest.raises(TooSlow):
        await reader.rows(select(func.pg_sleep(5)))


async def test_a_role_that_lacks_a_right_is_unavailable_and_not_the_end_of_a_process(scene: Scene) -> None:
    with pytest.raises(Unavailable, match="permission denied"):
        async with scene.database.begin() as link:
            await link.executor.execute("CREATE ROLE without_rights; SET LOCAL ROLE without_rights")
            await link.fetch("worker_beats")


async def test_a_locked_job_stays_locked_for_the_claim_only_until_its_holder_ends(scene: Scene) -> None:
    worker, job = await scene.worker(), await scene.job()
    async with scene.database.begin() as other:
        await other.fetch("lock_jobs", ids=[job], tenant="default")
        assert await scene.claim(worker, job) == []
    assert len(await scene.claim(worker, job)) == 1
    assert JobStatus(await scene.status(job)) is JobStatus.RUNNING
