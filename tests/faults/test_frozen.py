"""Silence that is no death, and death that looks like silence: frozen workers, servers, and whole machines."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.engine import Database
from db.errors import DatabaseError
from service.embedded import EmbeddedPostgres
from tests.faults.ledger import Ledger
from tests.faults.processes import HEARTBEAT, LEASE, SILENCE, Fleet, Worker, frozen, lasts
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults


@pytest.fixture
async def own_fleet(fleet: Fleet, own_postgres: EmbeddedPostgres) -> Fleet:
    """Workers on a PostgreSQL of this test's own."""
    fleet.environment["DATABASE_URL"] = own_postgres.url
    return fleet


@pytest.fixture
async def own_book(own_postgres: EmbeddedPostgres) -> AsyncIterator[JobBook]:
    """Jobs in it."""
    async with await Database.open(own_postgres.url, size=2) as database:
        yield JobBook(database)


@pytest.mark.parametrize("task", ["fault.sleep", "fault.thread"])
async def test_a_worker_frozen_past_its_lease_writes_nothing_and_comes_back_as_another(
    fleet: Fleet, book: JobBook, ledger: Ledger, task: str
) -> None:
    (victim,) = await fleet.ready()
    # its statements are prepared, and its code is over by the time it is thawed: its outcome is what it writes first
    for _ in range(5):
        await book.succeeds(*await book.submit_many("fault.quick", [{}] * 5))
    job_id = await book.submit(task, {"seconds": 1.0})
    await eventually(lambda: ledger.starts(job_id))
    victim.freeze()
    others = [fleet.start(), fleet.start()]
    for other in others:
        await other.ready()
    (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.crashes) == (2, 1)
    assert record.worker_id in {other.ids[0] for other in others}
    waiting = await book.submit_many("fault.quick", [{}] * 5, delay=0.5)
    victim.thaw()
    await victim.ready(times=2)
    assert victim.ids[0] != victim.ids[1]
    after = await book.get(job_id)
    assert (after.result, after.finished_at, after.attempt) == (record.result, record.finished_at, record.attempt)
    await book.succeeds(*waiting)
    for other in others:
        other.kill()
    await book.succeeds(await book.submit("fault.quick"))  # the thawed one runs jobs, under its new id
    dead = {row["id"] for row in await book.workers(alive=False)}
    assert victim.ids[0] in dead
    ledger.check(silence=SILENCE)


async def test_postgresql_frozen_for_one_and_a_half_leases_costs_no_worker_and_no_job_anything(
    own_fleet: Fleet, own_book: JobBook, own_postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    workers = await own_fleet.ready(3, slots=5)
    before = [worker.ids for worker in workers]
    ids = await own_book.submit_many("fault.sleep", [{"seconds": 1.0}] * 30)
    await eventually(lambda: len(ledger.starts()) == 15)
    assert own_postgres.pid is not None
    with frozen(own_postgres.pid):
        await lasts(1.5 * LEASE)
    records = await own_book.succeeds(*ids, timeout=40)
    assert {record.crashes for record in records} == {0}
    assert [worker.ids for worker in workers] == before
    assert await own_book.workers(alive=False) == []
    ledger.started_once()


async def test_a_suspended_machine_costs_nobody_anything(
    own_fleet: Fleet, own_book: JobBook, own_postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    workers = await own_fleet.ready(3, slots=5)
    before = [worker.ids for worker in workers]
    ids = await own_book.submit_many("fault.sleep", [{"seconds": 1.0}] * 30)
    await eventually(lambda: len(ledger.starts()) == 15)
    assert own_postgres.pid is not None
    leader = await eventually(own_book.leader)
    awake = next(worker for worker in workers if leader in worker.ids)
    late = [worker for worker in workers if worker is not awake]
    with frozen(*(worker.pid for worker in late)):
        with frozen(awake.pid, own_postgres.pid):
            await lasts(1.5 * LEASE)
        await lasts(HEARTBEAT)  # whoever wakes first, the leader here, sees the others' old beats
    records = await own_book.succeeds(*ids, timeout=40)
    assert {record.crashes for record in records} == {0}
    assert [worker.ids for worker in workers] == before
    assert await own_book.workers(alive=False) == []
    ledger.started_once()


async def test_a_worker_that_really_died_during_an_outage_is_still_found(
    own_fleet: Fleet, own_book: JobBook, own_postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    victim, other = await own_fleet.ready(2, slots=1)
    ids = await own_book.submit_many("fault.sleep", [{"seconds": 1.0}] * 2)
    await eventually(lambda: len(ledger.starts()) == 2)
    assert own_postgres.pid is not None
    with frozen(own_postgres.pid):
        victim.kill()
        await lasts(LEASE)
    records = await own_book.succeeds(*ids)
    assert sorted(record.crashes for record in records) == [0, 1]
    assert other.ids[1:] == []
    ledger.check(silence=SILENCE)


async def test_a_frozen_leader_is_replaced_and_its_thaw_harms_nobody(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    workers = await fleet.ready(2)
    leader = await eventually(book.leader)
    first = next(worker for worker in workers if leader in worker.ids)
    (second,) = (worker for worker in workers if worker is not first)
    with frozen(first.pid):
        await eventually(lambda: _leads(book, second), 20)
        expired = await book.submit("fault.quick", delay=60, expires_in=0.1)
        await book.final([expired], timeout=20)
        await eventually(lambda: _declared_dead(book, first), 20)
    job_id = await book.submit("fault.quick")
    await book.succeeds(job_id)
    await first.ready(times=2)
    ledger.check(silence=SILENCE)


async def _leads(book: JobBook, worker: Worker) -> bool:
    return await book.leader() in worker.ids


async def _declared_dead(book: JobBook, worker: Worker) -> bool:
    return worker.ids[0] in {row["id"] for row in await book.workers(alive=False)}


@pytest.mark.parametrize("mode", ["stop", "kill"])
async def test_postgresql_restarted_under_load_ends_no_worker_and_loses_nothing(
    own_fleet: Fleet, own_book: JobBook, own_postgres: EmbeddedPostgres, ledger: Ledger, mode: str
) -> None:
    workers = await own_fleet.ready(2, slots=10)
    ids = await own_book.submit_many("fault.sleep", [{"seconds": 0.2}] * 200)
    await eventually(lambda: len(ledger.ends()) > 40)
    await asyncio.to_thread(own_postgres.stop if mode == "stop" else own_postgres.kill)
    await lasts(LEASE / 3)
    await asyncio.to_thread(own_postgres.start)
    assert isinstance(own_book.database.link.executor, asyncpg.Pool)
    await own_book.database.link.executor.expire_connections()
    await eventually(lambda: _answers(own_book), 20)
    await own_book.succeeds(*ids, timeout=60)
    assert all(worker.alive for worker in workers)
    ledger.check(silence=SILENCE)


async def _answers(book: JobBook) -> bool:
    try:
        return bool(await book.counts([]) is not None)
    except (DatabaseError, OSError):
        return False
