"""Links that fall silent, reset, or carry next to nothing, between a process and one of its servers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest
import redis.asyncio

from db import engine
from db.engine import Database
from db.errors import Unavailable
from service.chaos.proxy import Proxy
from service.embedded import EmbeddedValkey
from tests.faults.apis import Api, announce, serving
from tests.faults.ledger import Ledger
from tests.faults.namespaces import Namespace, namespace
from tests.faults.processes import ERRANDER, LEASE, SILENCE, Fleet, lasts
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults


@dataclass(frozen=True, slots=True)
class Link:
    """The way from a worker to PostgreSQL, cut by the proxy or, where there is a namespace, by the kernel."""

    proxy: Proxy
    inside: Namespace | None

    @property
    def command(self) -> tuple[str, ...]:
        """How the worker is started."""
        return ERRANDER if self.inside is None else self.inside.command(*ERRANDER)

    def cut(self) -> None:
        """Silence."""
        if self.inside is None:
            self.proxy.silence()
        else:
            self.inside.drop(self.proxy.port)

    async def refuse(self) -> None:
        """Whatever is sent is answered by a reset."""
        if self.inside is None:
            await self.proxy.refuse()
            self.proxy.reset()
        else:
            self.inside.reject(self.proxy.port)

    async def heal(self) -> None:
        """As if nothing had been."""
        if self.inside is None:
            await self.proxy.heal()
        else:
            self.inside.heal()


@pytest.fixture(params=["by the proxy", "by the kernel"])
def inside(request: pytest.FixtureRequest) -> Iterator[Namespace | None]:
    """Where the worker lives."""
    if request.param == "by the proxy":
        yield None
        return
    with namespace() as made:
        yield made


@pytest.fixture
async def link(inside: Namespace | None, fleet: Fleet, database_url: str) -> AsyncIterator[Link]:
    """To the fleet's PostgreSQL; the worker inside has no Redis."""
    async with Proxy.of(database_url, listen=inside.outside if inside else "127.0.0.1") as proxy:
        yield Link(proxy, inside)


async def test_a_worker_cut_off_from_postgresql_finishes_its_job_in_vain_and_comes_back_as_another(
    fleet: Fleet, book: JobBook, ledger: Ledger, link: Link, database_url: str
) -> None:
    away = {"DATABASE_URL": link.proxy.through(database_url), "REDIS_URL": "redis://127.0.0.1:1"}
    victim = await fleet.start(command=link.command, slots=1, **away).ready()  # type: ignore[arg-type]
    for name in ("first", "second"):
        await book.succeeds(await book.submit("fault.quick", tags=f'["{name}"]'))  # its statements are prepared
    job_id = await book.submit("fault.pid", {"seconds": 1.0})
    await eventually(lambda: ledger.starts(job_id))
    link.cut()
    (other,) = await fleet.ready(slots=1)
    await eventually(lambda: len(ledger.ends(job_id)) == 2, 20)  # neither link nor lease stops code that runs
    (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.crashes, record.worker_id) == (2, 1, other.ids[0])
    await link.heal()
    await victim.ready(times=2)
    assert victim.ids[0] != victim.ids[1]
    assert await book.get(job_id) == record

    # An outage shorter than the lease costs nobody anything, even where it is said aloud.
    other.kill()
    again = await book.submit("fault.pid", {"seconds": LEASE / 2})
    await eventually(lambda: ledger.starts(again), 20)
    await link.refuse()
    await lasts(LEASE / 3)
    await link.heal()
    (record,) = await book.succeeds(again)
    assert (record.attempt, record.crashes, record.worker_id) == (1, 0, victim.ids[1])
    ledger.check(silence=SILENCE)


async def test_a_worker_cut_off_from_redis_finishes_its_jobs_and_finds_more_and_hears_hints_again_afterwards(
    fleet: Fleet, book: JobBook, ledger: Ledger, own_valkey: EmbeddedValkey
) -> None:
    async with Proxy.of(own_valkey.url) as proxy, redis.asyncio.Redis.from_url(own_valkey.url) as client:
        (worker,) = await fleet.ready(slots=5, REDIS_URL=proxy.through(own_valkey.url))
        for break_it in (_fall_silent, _refuse):
            ids = await book.submit_many("fault.sleep", [{"seconds": 0.5}] * 5)
            await eventually(lambda ids=ids: _all_started(ledger, ids))  # type: ignore[misc,arg-type]
            await break_it(proxy)
            ids += await book.submit_many("fault.sleep", [{"seconds": 0.1}] * 20)
            await book.succeeds(*ids)
            await proxy.heal()
            await eventually(lambda: _hears(client), 30)
            hinted = await book.submit("fault.quick", delay=0.2)
            await Hints(client).publish([Hint(hinted, "default", "default", 0.2)])
            await book.succeeds(hinted)
        assert worker.alive
        assert len(worker.ids) == 1
    ledger.started_once()


def _all_started(ledger: Ledger, ids: list[UUID]) -> bool:
    return {str(job_id) for job_id in ids} <= {line.job for line in ledger.starts()}


async def _fall_silent(proxy: Proxy) -> None:
    proxy.silence()


async def _refuse(proxy: Proxy) -> None:
    await proxy.refuse()
    proxy.reset()


async def _hears(client: redis.asyncio.Redis) -> bool:
    return any(row["cmd"] == "blpop" for row in await client.client_list())


async def test_over_slow_and_narrow_links_jobs_run_once_and_nobody_is_declared_dead(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger
) -> None:
    database_url, redis_url = fleet.environment["DATABASE_URL"], fleet.environment["REDIS_URL"]
    async with Proxy.of(database_url) as postgres, Proxy.of(redis_url) as valkey:
        (worker,) = await fleet.ready(
            slots=20, DATABASE_URL=postgres.through(database_url), REDIS_URL=valkey.through(redis_url)
        )
        for fault in ({"latency": 0.02, "jitter": 0.08}, {"rate": 200_000.0}):
            for proxy in (postgres, valkey):
                proxy.slow(**fault)
            ids = await book.submit_many("fault.flaky", [{"failures": 1}] * 15)
            await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
            records = await book.succeeds(*ids, timeout=60)
            assert {record.crashes for record in records} == {0}
        for _ in range(3):  # a peer that closes its side, and connections that end in the middle of an answer
            postgres.half_close()
            valkey.half_close()
            postgres.down.until_cut = 100
            valkey.down.until_cut = 10
            await book.succeeds(*await book.submit_many("fault.quick", [{}] * 10), timeout=60)
    assert len(worker.ids) == 1
    ledger.check(silence=SILENCE)


async def test_while_postgresql_takes_connections_and_says_nothing_requests_end_and_do_not_pile_up(
    fleet: Fleet, book: JobBook, database_url: str
) -> None:
    await announce(book.database)
    async with Proxy.of(database_url) as proxy, serving(fleet, {"DATABASE_URL": proxy.through(database_url)}) as (api,):
        assert (await api.submit()).status_code == 202
        proxy.silence()
        answers = await asyncio.gather(*(_asked(api, n) for n in range(40)))  # the client waits for half a minute
        assert {answer.status_code for answer in answers} == {503}
        assert (await api.client.get("/healthz")).status_code == 200
        await proxy.heal()
        await eventually(lambda: _is_accepted(api), 20)
        assert (await api.client.get("/readyz")).json()["checks"]["postgres"] == "ok"


async def test_a_dead_link_is_given_up_after_one_patience_and_not_after_two(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CLIENT_TIMEOUT", 1.5)
    async with Proxy.of(database_url) as proxy, await Database.open(proxy.through(database_url), size=2) as database:
        for ask in (_plainly, _in_a_transaction):
            await ask(database, lambda: None)
            asked = time.monotonic()
            with pytest.raises(Unavailable):
                await ask(database, proxy.silence)
            assert 1.5 <= time.monotonic() - asked < 3.0
            await proxy.heal()


async def _plainly(database: Database, before: Callable[[], None]) -> None:
    before()
    await database.link.fetch("worker_beats")


async def _in_a_transaction(database: Database, before: Callable[[], None]) -> None:
    async with database.begin() as link:
        before()
        await link.fetch("worker_beats")


async def _asked(api: Api, n: int) -> httpx.Response:
    if n % 2:
        return await api.submit(key=f"key-{n}" if n % 4 == 1 else None)
    return await api.client.get("/v1/jobs/01890000-0000-7000-8000-000000000000")


async def _is_accepted(api: Api) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await api.submit()).status_code == 202
    return False
