"""The whole service on a Redis that forgets, refuses, lies or is replaced: submits are taken, jobs run once."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
import redis.asyncio

from service.chaos.proxy import Proxy
from service.embedded import EmbeddedValkey
from service.supervise import free_port
from tests.faults.apis import Api, announce, serving
from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet, Worker, frozen, lasts
from tests.fixtures.jobs import JobBook, seconds_between
from tests.fixtures.servers import open_folder
from tests.fixtures.waiting import eventually
from workers.hints import FINAL_CHANNEL

pytestmark = pytest.mark.faults

QUEUES = ("errander:high", "errander:default", "errander:low")


@dataclass(frozen=True, slots=True)
class Service:
    """An API and two workers that reach Valkey through a proxy."""

    api: Api
    workers: list[Worker]
    proxy: Proxy
    client: redis.asyncio.Redis
    """A way to Valkey that passes the proxy by."""
    book: JobBook
    submitted: list[UUID]

    async def submit(self, n: int = 10, **body: object) -> list[UUID]:
        """Submits so many jobs over the API; every one is taken."""
        answers = [await self.api.submit(**body) for _ in range(n)]  # type: ignore[arg-type]  # fields of a body
        assert {answer.status_code for answer in answers} == {202}, answers[-1].text
        ids = [UUID(answer.json()["id"]) for answer in answers]
        self.submitted.extend(ids)
        return ids

    async def runs(self, n: int = 10, **body: object) -> None:
        """Submits so many jobs, and they run."""
        await self.book.succeeds(*await self.submit(n, **body), timeout=40)

    async def is_well_again(self) -> bool:
        """Whether a submit leaves a hint in Redis."""
        (job_id,) = await self.submit(1, delay=30)
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self.client.zscore("errander:default", str(job_id)), 0.5)
            return True
        return False


@pytest.fixture
async def service(
    request: pytest.FixtureRequest, fleet: Fleet, book: JobBook, own_valkey: EmbeddedValkey, ledger: Ledger
) -> AsyncIterator[Service]:
    """All of it; afterwards every job has run once, and nobody has ended. A test may parametrize the workers' settings."""
    await announce(book.database)
    client = redis.asyncio.Redis.from_url(own_valkey.url)
    async with Proxy.of(own_valkey.url) as proxy:
        fleet.environment["REDIS_URL"] = proxy.through(own_valkey.url)
        workers = [fleet.start(slots=10, **getattr(request, "param", {})) for _ in range(2)]
        async with serving(fleet, {}) as (api,):
            for worker in workers:
                await worker.ready()
            made = Service(api, workers, proxy, client, book, [])
            yield made
            for job_id in made.submitted:
                await api.client.post(f"/v1/jobs/{job_id}/run-now")
            await book.succeeds(*made.submitted, timeout=60)
            assert all(process.alive for process in (*workers, api.process))
    await client.aclose()
    ledger.started_once()


async def test_submits_are_taken_and_run_while_valkey_is_flushed_hangs_is_dead_and_comes_back_empty(
    service: Service, own_valkey: EmbeddedValkey
) -> None:
    for _ in range(8):
        await service.submit(10)
        await service.client.flushall()
        await lasts(0.2)
    assert own_valkey.pid is not None
    with frozen(own_valkey.pid):
        await service.runs(20)
    own_valkey.kill()
    await service.runs(20)
    await asyncio.to_thread(own_valkey.start)
    await eventually(service.is_well_again, 30)


@pytest.mark.parametrize("service", [{"head_seconds": 1}], indirect=True)  # as it is by default
async def test_flushed_every_three_seconds_for_a_minute_under_load_it_loses_nothing_and_delays_by_two_seconds_at_most(
    service: Service, book: JobBook
) -> None:
    over = asyncio.Event()

    async def load(**body: object) -> list[UUID]:
        ids = []
        while not over.is_set():
            ids += await service.submit(1, **body)
            await lasts(0.1)
        return ids

    # due at once, and due when the hint that was published for it is gone
    loads = [asyncio.create_task(load(**body)) for body in ({}, {"priority": "high"}, {"delay": 1.5})]
    for _ in range(20):
        await lasts(3.0)
        await service.client.flushall()
    over.set()
    ids = [job_id for ids in await asyncio.gather(*loads) for job_id in ids]
    records = await book.succeeds(*ids, timeout=60)
    assert len(records) > 300
    waits = [seconds_between(record.run_at, record.started_at) for record in records]
    assert max(waits) <= 2.0, sorted(waits)[-20:]


async def test_a_valkey_that_refuses_every_write_or_every_command_stops_nobody(
    service: Service, own_valkey: EmbeddedValkey
) -> None:
    server = service.client
    await server.config_set("maxmemory", 1)
    await service.runs()  # OOM
    await server.config_set("maxmemory", 0)
    await server.replicaof("127.0.0.1", str(free_port()))
    await service.runs()  # READONLY
    await server.config_set("replica-serve-stale-data", "no")
    await service.runs()  # MASTERDOWN
    await server.config_set("replica-serve-stale-data", "yes")
    await server.replicaof("NO", "ONE")
    loading = await asyncio.start_server(_loads, "127.0.0.1", 0)
    service.proxy.repoint(f"redis://127.0.0.1:{loading.sockets[0].getsockname()[1]}")
    await service.runs()
    service.proxy.repoint(own_valkey.url)
    loading.close()
    await eventually(service.is_well_again, 30)


async def _loads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as a server does that still reads its file: every command is refused."""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            refusals = max(1, piece.count(b"*"))
            writer.write(b"-LOADING Valkey is loading the dataset in memory\r\n" * refusals)
            await writer.drain()
    writer.close()


async def test_random_bytes_under_every_key_and_on_the_channel_stop_nobody(service: Service) -> None:
    random.seed(30)
    server = service.client
    keys = [f"{queue}{suffix}" for queue in QUEUES for suffix in ("", ":wake", ":deep", ":health-check")]
    for _ in range(10):
        for key in [*keys, "errander:default:all:health-check", f"arq:job:{random.randbytes(8).hex()}"]:
            await server.delete(key)
            write = random.choice((_as_sorted_set, _as_list, _as_text))
            await write(server, key)
        for _ in range(20):
            await server.publish(FINAL_CHANNEL, random.randbytes(random.randrange(200)))
        await service.runs(3, priority=random.choice(("high", "default", "low")))
        answer = await service.api.client.post("/v1/jobs?wait=20", json={"task": "fault.quick"})
        assert answer.status_code == 200
        service.submitted.append(UUID(answer.json()["id"]))
    await server.flushall()
    await eventually(service.is_well_again, 30)


async def _as_sorted_set(server: redis.asyncio.Redis, key: str) -> None:
    scores = (float("-inf"), -1.0, 0.0, 1e300, float("inf"))
    await server.zadd(key, {random.randbytes(random.randrange(1, 60)): random.choice(scores) for _ in range(20)})


async def _as_list(server: redis.asyncio.Redis, key: str) -> None:
    await server.rpush(key, *(random.randbytes(random.randrange(60)) for _ in range(20)))  # type: ignore[misc]


async def _as_text(server: redis.asyncio.Redis, key: str) -> None:
    await server.set(key, random.randbytes(random.randrange(1000)))


async def test_a_failover_that_lost_hints_and_brings_old_ones_back_loses_and_doubles_no_job(
    service: Service, own_valkey: EmbeddedValkey
) -> None:
    with (
        open_folder(in_memory=True) as folder,
        EmbeddedValkey(folder / "valkey", options={"appendonly": "no"}) as other,
    ):
        async with redis.asyncio.Redis.from_url(other.url) as replica:
            password = str(service.client.connection_pool.connection_kwargs["password"])
            await replica.config_set("masterauth", password)
            await service.client.config_set("repl-diskless-sync-delay", 0)
            await replica.replicaof("127.0.0.1", str(own_valkey.port))
            await eventually(lambda: _follows(replica), 30)
            await eventually(service.is_well_again, 30)
            old = await service.submit(5, delay=4)
            await eventually(lambda: _has_all(replica, old))
            await replica.replicaof("NO", "ONE")  # from here on it misses everything
            for job_id in old[:3]:  # these are over before the replica takes over, and it still has their hints
                await service.api.client.post(f"/v1/jobs/{job_id}/run-now")
            await service.book.succeeds(*old[:3])
            lost = await service.submit(5, delay=4)
            await replica.config_set("requirepass", password)
            own_valkey.kill()
            service.proxy.repoint(other.url)
            await service.runs(10)
            await service.book.succeeds(*old, *lost)
            await eventually(lambda: _has_none(replica, old), 30)  # what came back was taken, judged and dropped
            (job_id,) = await service.submit(1, delay=30)
            await eventually(lambda: replica.zscore("errander:default", str(job_id)))


async def _follows(server: redis.asyncio.Redis) -> bool:
    return bool((await server.info("replication"))["master_link_status"] == "up")


async def _has_all(server: redis.asyncio.Redis, ids: list[UUID]) -> bool:
    return None not in [await server.zscore("errander:default", str(job_id)) for job_id in ids]


async def _has_none(server: redis.asyncio.Redis, ids: list[UUID]) -> bool:
    return not any([await server.zscore("errander:default", str(job_id)) for job_id in ids])
