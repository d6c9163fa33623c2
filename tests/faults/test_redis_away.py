"""Redis may forget, hang, die or hold garbage: jobs start later for a moment, and that is all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import redis.asyncio

from service.embedded import EmbeddedValkey
from tests.faults.ledger import Ledger
from tests.faults.processes import LEASE, Fleet, frozen, lasts
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults

PRIORITIES = ("high", "default", "low")
QUEUES = tuple(f"errander:{priority}" for priority in PRIORITIES)


@pytest.fixture
def broken_fleet(fleet: Fleet, own_valkey: EmbeddedValkey) -> Fleet:
    """Workers on a Valkey of this test's own."""
    fleet.environment["REDIS_URL"] = own_valkey.url
    return fleet


@contextlib.asynccontextmanager
async def client_of(server: EmbeddedValkey) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of `server`."""
    client = redis.asyncio.Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


async def _publish(client: redis.asyncio.Redis, ids: list[UUID], priority: str = "default") -> None:
    await Hints(client).publish([Hint(job_id, "default", priority, 0.0) for job_id in ids])


async def test_flushall_with_a_thousand_waiting_loses_and_doubles_nothing(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook, ledger: Ledger
) -> None:
    await broken_fleet.ready(2, slots=20)
    async with client_of(own_valkey) as client:
        ids = await book.submit_many("fault.sleep", [{"seconds": 0.1}] * 1000)
        await _publish(client, ids)
        for done in (50, 250, 500):
            await eventually(lambda done=done: len(ledger.ends()) >= done, 30)  # type: ignore[misc]
            await client.flushall()
    records = await book.succeeds(*ids, timeout=60)
    ledger.started_once()
    assert {record.attempt for record in records} == {1}


async def test_a_flush_while_nothing_is_hinted_delays_a_future_job_by_a_second_at_most(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook
) -> None:
    await broken_fleet.ready(1, head_seconds=1)
    async with client_of(own_valkey) as client:
        (job,) = await book.accept("fault.quick", [{}], delay=2.0)
        await Hints(client).publish([Hint(job.id, "default", "default", job.due_in)])
        await client.flushall()
    (record,) = await book.succeeds(job.id)
    assert record.started_at is not None
    assert 0 <= (record.started_at - record.run_at).total_seconds() < 1.5


async def test_while_valkey_hangs_jobs_start_and_finish(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook, ledger: Ledger
) -> None:
    workers = await broken_fleet.ready(2, slots=10)
    assert own_valkey.pid is not None
    before = await book.submit_many("fault.sleep", [{"seconds": 0.2}] * 100)
    await eventually(ledger.ends, 30)
    with frozen(own_valkey.pid):
        during = await book.submit_many("fault.sleep", [{"seconds": 0.1}] * 100)
        await book.succeeds(*before, *during, timeout=60)
        later = await book.submit_many("fault.quick", [{}] * 20)
        await book.succeeds(*later, timeout=5)  # by then every worker goes by head alone
    after = await book.submit("fault.quick")
    await book.succeeds(after)
    assert all(worker.alive for worker in workers)
    ledger.started_once()
    assert all(record.crashes == 0 for record in await book.get_all([*before, *during]))


async def test_a_worker_that_slept_on_valkey_when_it_hung_finds_jobs_soon(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook
) -> None:
    await broken_fleet.ready(1, head_seconds=1)
    await book.succeeds(await book.submit("fault.quick"))
    assert own_valkey.pid is not None
    with frozen(own_valkey.pid):
        job_id = await book.submit("fault.quick")
        await book.succeeds(job_id, timeout=5)  # its blocking call is given up soon after its own time


async def test_valkey_restarted_empty_under_load_ends_no_worker_and_loses_nothing(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook, ledger: Ledger
) -> None:
    workers = await broken_fleet.ready(2, slots=10)
    async with client_of(own_valkey) as client:
        ids = await book.submit_many("fault.sleep", [{"seconds": 0.1}] * 600)
        await _publish(client, ids)
    for done in (50, 250):
        await eventually(lambda done=done: len(ledger.ends()) >= done, 30)  # type: ignore[misc]
        own_valkey.kill()
        await eventually(lambda done=done: len(ledger.ends()) >= done + 80, 30)  # type: ignore[misc]  # without it
        await asyncio.to_thread(own_valkey.start)
    await book.succeeds(*ids, timeout=60)
    async with client_of(own_valkey) as client:
        hinted = await book.submit("fault.quick")
        await _publish(client, [hinted])
        await book.succeeds(hinted)
        await eventually(lambda: _sleeping(client))  # by hint again
    assert all(worker.alive for worker in workers)
    ledger.started_once()


async def _sleeping(client: redis.asyncio.Redis) -> bool:
    return any(row["cmd"] == "blpop" for row in await client.client_list())


async def test_a_worker_starts_and_works_while_valkey_is_down(
    broken_fleet: Fleet, own_valkey: EmbeddedValkey, book: JobBook
) -> None:
    own_valkey.kill()
    await broken_fleet.ready()
    await book.succeeds(*await book.submit_many("fault.quick", [{}] * 50))


async def test_malformed_members_are_removed_and_counted_and_stop_nobody(
    fleet: Fleet, book: JobBook, redis_url: str, ledger: Ledger
) -> None:
    workers = await fleet.ready(2)
    members: dict[str | bytes, float] = {
        b"\xff\xfe\x00garbage": 0,
        b"": 1,
        "not-a-uuid": -float("inf"),
        "x" * 100_000: 5,
        str(uuid4()).upper(): 6,
        str(uuid4()): 7,  # well formed, of nobody
        b"\x00" * 36: 8,
    }
    far: dict[str | bytes, float] = {str(uuid4()): float("inf"), str(uuid4()): 1e300, "far garbage": 1.7e308}
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for queue, priority in zip(QUEUES, PRIORITIES, strict=True):
            await client.zadd(queue, members | far)
            ids = await book.submit_many("fault.quick", [{}] * 10, priority=priority)
            await client.zadd(queue, {str(job_id): n - 5.0 for n, job_id in enumerate(ids)})
            await client.lpush(f"{queue}:wake", b"\xff not one token", "two", "three")
            await book.succeeds(*ids)
        await eventually(lambda: _are_left(client, set(far)))
    assert all(worker.alive for worker in workers)
    assert any("take.malformed" in worker.log for worker in workers)
    ledger.started_once()


async def _are_left(client: redis.asyncio.Redis, members: set[str | bytes]) -> bool:
    left = [{member.decode() for member in await client.zrange(queue, 0, -1)} for queue in QUEUES]
    return left == [members] * len(QUEUES)


@pytest.mark.parametrize("suffix", ["", ":wake", ":deep"])
async def test_a_value_of_another_type_under_a_queues_name_stops_nobody(
    fleet: Fleet, book: JobBook, redis_url: str, suffix: str
) -> None:
    (worker,) = await fleet.ready(slots=20)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for kind in ("string", "list", "set", "hash"):
            for queue in QUEUES:
                await _write_as(client, queue + suffix, kind)
            ids = [job for p in PRIORITIES for job in await book.submit_many("fault.quick", [{}] * 20, priority=p)]
            await book.succeeds(*ids)
            await eventually(lambda: _hint_arrives(client, book), 20)
    assert worker.alive


async def _write_as(client: redis.asyncio.Redis, key: str, kind: str) -> None:
    await client.delete(key)
    match kind:
        case "string":
            await client.set(key, "mine")
        case "list":
            await client.rpush(key, "mine")  # type: ignore[misc]  # redis-py types it as both kinds
        case "set":
            await client.sadd(key, "mine")  # type: ignore[misc]
        case _:
            await client.hset(key, "mine", "1")  # type: ignore[misc]


async def _hint_arrives(client: redis.asyncio.Redis, book: JobBook) -> bool:
    """Whether publishing works again, and what is published runs."""
    ids = await book.submit_many("fault.quick", [{}] * 5)
    try:
        await _publish(client, ids)
    except redis.exceptions.ResponseError:
        return False
    await book.succeeds(*ids)
    return True


async def test_doubled_hints_over_four_workers_start_every_job_once_without_a_deadlock(
    fleet: Fleet, book: JobBook, redis_url: str, ledger: Ledger
) -> None:
    await fleet.ready(4, slots=25)
    ids = await book.submit_many("fault.quick", [{}] * 2000)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        while True:
            counts = await book.counts(ids)
            if counts["SUCCESS"] == len(ids):
                break
            await _publish(client, ids[::-1])
            await _publish(client, ids)
    await book.succeeds(*ids, timeout=60)
    ledger.started_once()
    assert len(ledger.starts()) == len(ids)
    deadlocks = await book.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0


async def test_a_doubled_hint_of_a_running_job_starts_nothing(
    fleet: Fleet, book: JobBook, redis_url: str, ledger: Ledger
) -> None:
    await fleet.ready(2)
    job_id = await book.submit("fault.sleep", {"seconds": LEASE / 2})
    await eventually(lambda: ledger.starts(job_id))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        while (await book.get(job_id)).status == "RUNNING":
            await _publish(client, [job_id])
            await lasts(0.02)
    await book.succeeds(job_id)
    ledger.started_once()
