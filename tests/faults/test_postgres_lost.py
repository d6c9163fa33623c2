"""PostgreSQL restarts, fails over, is full of others' connections or of data: nothing is lost, nothing runs twice."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from db.engine import Database
from db.lifecycle import JobStatus
from db.migrate import upgrade
from service.chaos.proxy import Proxy
from service.embedded import EmbeddedPostgres
from tests.faults.apis import Api, announce, serving
from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet, lasts
from tests.faults.small_disk import small_disk
from tests.faults.standby import standby_of
from tests.fixtures.jobs import JobBook, result
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

OUTAGE_SECONDS = 1.5
LARGE = 400_000  # characters: more than fits into space that a table has left


@pytest.fixture
async def own_fleet(fleet: Fleet, own_postgres: EmbeddedPostgres) -> Fleet:
    """Workers on a PostgreSQL of this test's own."""
    fleet.environment["DATABASE_URL"] = own_postgres.url
    return fleet


@contextlib.asynccontextmanager
async def book_of(url: str) -> AsyncIterator[JobBook]:
    """Jobs at an address."""
    async with await Database.open(url, size=2) as database:
        yield JobBook(database)


async def _refused_for_now(api: Api) -> None:
    """A submit is answered by a 503 that says when to come again."""
    answer = await api.submit()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["Retry-After"]) >= 1


async def _insisted(api: Api, key: str) -> UUID:
    """Submits under a key until it is taken, as the client package does."""

    async def taken() -> UUID | None:
        answer = await api.submit(key=key)
        assert answer.status_code in (202, 503), answer.text
        return UUID(answer.json()["id"]) if answer.is_success else None

    return await eventually(taken, 30)


async def test_no_job_runs_twice_when_postgresql_restarts_fast_and_at_once_while_fifty_run(
    own_fleet: Fleet, own_postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    workers = await own_fleet.ready(2, slots=25)
    async with serving(own_fleet, {}) as (api,):
        async with book_of(own_postgres.url) as book:
            ids = await book.submit_many("fault.sleep", [{"seconds": 6.0}] * 50)
            await eventually(lambda: len(ledger.starts()) == 50, 20)
        keyed = []
        for number, mode in enumerate((signal.SIGINT, signal.SIGQUIT)):
            assert own_postgres.pid is not None
            os.kill(own_postgres.pid, mode)
            await asyncio.to_thread(own_postgres.stop)
            await _refused_for_now(api)
            insisting = asyncio.create_task(_insisted(api, f"key-{number}"))
            await lasts(OUTAGE_SECONDS)
            await asyncio.to_thread(own_postgres.start)
            keyed.append(await insisting)
        assert len(ledger.ends()) == 0, "the outages were to be over before the jobs"
        async with book_of(own_postgres.url) as book:
            records = await book.succeeds(*ids, *keyed, timeout=60)
            assert await book.execute("SELECT count(*) FROM errander.jobs") == 52
    assert {(record.attempt, record.crashes) for record in records} == {(1, 0)}
    assert [len(worker.ids) for worker in workers] == [1, 1]
    ledger.started_once()


async def test_after_a_failover_that_lost_a_claim_the_fence_still_tells_two_first_attempts_apart(
    own_fleet: Fleet, own_postgres: EmbeddedPostgres, ledger: Ledger, failpoints: Failpoints
) -> None:
    options = {"fsync": "off", "full_page_writes": "off"}
    with contextlib.ExitStack() as stack:
        stack.callback(own_postgres.start)  # others use it after this test
        async with Proxy.of(own_postgres.url) as proxy:
            own_fleet.environment["DATABASE_URL"] = proxy.through(own_postgres.url)
            # it does not find out by itself that its job is gone: only the fence stands between it and the other's row
            (late,) = await own_fleet.ready(slots=1, **failpoints.settings("roll_call.sending:wait"))
            async with book_of(own_postgres.url) as book:
                await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('fault.pid')")
                job_id = await book.submit("fault.pid", {"seconds": 5.0})
                other = stack.enter_context(standby_of(own_postgres, options))
                failpoints.now()
                await book.execute("DELETE FROM errander.task_pauses")
                await eventually(lambda: ledger.starts(job_id), 20)
            own_postgres.kill()
            await asyncio.to_thread(other.start)
            proxy.repoint(other.url)
            async with book_of(proxy.through(own_postgres.url)) as book:
                assert (await book.get(job_id)).attempt == 0  # the claim is lost
                (second,) = await own_fleet.ready(slots=1)
                await book.execute("DELETE FROM errander.task_pauses")
                await eventually(lambda: len(ledger.starts(job_id)) == 2, 20)
                assert (await book.get(job_id)).worker_id == second.ids[0]
                await eventually(lambda: "flush.stale" in late.log, 20)
                assert (await book.get(job_id)).status == JobStatus.RUNNING
                (record,) = await book.succeeds(job_id)
                failpoints.go_on.touch()
                assert {run.attempt for run in ledger.runs()[str(job_id)]} == {record.attempt} == {1}
                assert result(record) == second.pid
                assert record.worker_id == second.ids[0]
                await book.succeeds(*await book.submit_many("fault.quick", [{}] * 5))


async def test_with_every_connection_taken_submits_are_refused_for_now_and_no_lease_is_lost(
    own_fleet: Fleet, own_postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    (worker,) = await own_fleet.ready(slots=10)
    async with book_of(own_postgres.url) as book, serving(own_fleet, {}) as (api,):
        ids = await book.submit_many("fault.sleep", [{"seconds": 1.0}] * 30)
        await eventually(lambda: len(ledger.starts()) >= 10, 20)
        async with _all_connections(own_postgres.url):
            await _refused_for_now(api)
            assert (await api.client.get("/healthz")).status_code == 200
            assert (await api.client.get("/readyz")).json()["status"] == "unavailable"
            await book.succeeds(*ids)
        ids.append(await _insisted(api, "after"))
        await book.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
        )
        ids += [await _insisted(api, "and-after-all-were-ended"), *await book.submit_many("fault.quick", [{}] * 10)]
        records = await book.succeeds(*ids)
        assert await book.workers(alive=False) == []
    assert {(record.attempt, record.crashes) for record in records} == {(1, 0)}
    assert len(worker.ids) == 1
    ledger.started_once()


@contextlib.asynccontextmanager
async def _all_connections(url: str) -> AsyncIterator[None]:
    """Takes every connection that the server still has, and those that come free."""
    taken: list[asyncpg.Connection[asyncpg.Record]] = []

    async def take() -> None:
        while True:
            try:
                taken.append(await asyncpg.connect(url))
            except asyncpg.TooManyConnectionsError:
                full.set()
                await asyncio.sleep(0.02)

    full = asyncio.Event()
    taking = asyncio.create_task(take())
    try:
        await full.wait()
        yield
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        for connection in taken:
            connection.terminate()


async def test_a_full_disk_refuses_submits_for_now_and_outcomes_are_kept_until_there_is_space(
    fleet: Fleet, ledger: Ledger
) -> None:
    options = {"fsync": "off", "max_wal_size": "64MB", "max_connections": "50"}
    with small_disk(256) as disk, EmbeddedPostgres(disk.folder / "postgres", options=options) as server:
        await upgrade(server.url)
        fleet.environment["DATABASE_URL"] = server.url
        async with book_of(server.url) as book:
            await announce(book.database)
            async with serving(fleet, {}) as (api,):
                (worker,) = await fleet.ready(slots=10)
                ids = await book.submit_many("fault.large", [{"seconds": 2.0, "size": LARGE}] * 5)
                await eventually(lambda: len(ledger.starts()) == 5, 20)
                disk.fill()
                answer = await api.submit("fault.echo", payload={"much": os.urandom(LARGE // 2).hex()})
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
                await eventually(lambda: "flush.unavailable" in worker.log, 20)
                assert (await api.client.get("/healthz")).status_code == 200
                disk.free()
                ids.append(await _insisted(api, "after"))
                records = await book.succeeds(*ids)
        assert {(record.attempt, record.crashes) for record in records} == {(1, 0)}
        assert len(worker.ids) == 1
        for process in fleet.workers:
            process.kill()
    ledger.started_once()
