"""Rate limits over real requests: of a credential, of a tenant, of an address that guesses."""

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from db import tasks
from db.engine import Database
from service.auth import keys
from service.auth.issuing import Wish, issue
from service.auth.principal import Principal
from service.auth.scopes import EVERYTHING
from service.checks import consistency_hints
from service.embedded import EmbeddedValkey
from service.http.problems import Problem
from service.limits.rate_limits import RateLimits
from service.limits.window import SHARE
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import ANYTHING, running, settings_for
from tests.api.problems import problem
from tests.faults.processes import frozen
from tests.fixtures.servers import open_folder
from tests.fixtures.structured import members
from tests.fixtures.waiting import eventually

JOB = {"task": "demo.echo"}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url, size=2) as opened:
        await tasks.announce(opened.link, [ANYTHING])
        yield opened


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not make a process count for itself where the count is what is looked at."""
    monkeypatch.setattr("service.main.RateLimits", functools.partial(RateLimits, patience=5.0))


@pytest.fixture
def limited(database_url: str, redis_url: str, patient: None) -> Callable[..., ApiSettings]:
    """Settings with these limits."""
    del patient

    def settings(**changes: object) -> ApiSettings:
        return settings_for(database_url, redis_url, auth="required", **changes)

    return settings


async def key_of(database: Database, tenant: str = "default") -> dict[str, str]:
    """The header with a new API key."""
    _, text = await issue(database.link, b"", Wish(tenant, "of a test", ["jobs:submit", "jobs:read"], "test"))
    return {"Authorization": f"Bearer {text}"}


async def statuses(client: httpx.AsyncClient, headers: dict[str, str], times: int) -> list[int]:
    return [(await client.post("/v1/jobs", json=JOB, headers=headers)).status_code for _ in range(times)]


async def test_a_small_limit_lets_through_exactly_so_many_and_says_what_is_left(
    limited: Callable[..., ApiSettings], database: Database
) -> None:
    key = await key_of(database)
    async with running(create_app(limited(rate_limit_key="5/minute", rate_limit_tenant="50 per 2 minutes"))) as api:
        for left in (4, 3, 2, 1, 0):
            answer = await api.post("/v1/jobs", json=JOB, headers=key)
            assert answer.status_code == 202
            assert members(answer.headers["ratelimit-policy"]) == {
                "key": {"q": 5, "w": 60},
                "tenant": {"q": 50, "w": 120},
            }
            state = members(answer.headers["ratelimit"])
            assert (state["key"]["r"], state["tenant"]["r"]) == (left, 45 + left)
            assert 1 <= int(state["key"]["t"]) <= 60
        answer = await api.post("/v1/jobs", json=JOB, headers=key)
        found = problem(answer, "quota-exceeded", 429)
        assert found["violated-policies"] == ["key"]
        state = members(answer.headers["ratelimit"])
        assert state["key"]["r"] == 0
        assert int(answer.headers["retry-after"]) >= int(state["key"]["t"]) >= 50
        # Reading counts too, a missing job has the headers as well, and another key has requests of its own.
        problem(await api.get("/v1/jobs", headers=key), "quota-exceeded", 429)
        answer = await api.get("/v1/jobs/none", headers=await key_of(database))
        problem(answer, "not-found", 404)
        assert members(answer.headers["ratelimit"])["key"]["r"] == 4


async def test_two_processes_share_one_count(limited: Callable[..., ApiSettings], database: Database) -> None:
    keys = [await key_of(database) for _ in range(4)]
    other = await key_of(database, "other")
    settings = limited(rate_limit_tenant="11/hour")
    async with running(create_app(settings)) as one, running(create_app(settings)) as two:
        answers = await asyncio.gather(
            *(statuses(client, key, 5) for client in (one, two) for key in keys),
        )
        assert Counter(status for found in answers for status in found) == {202: 11, 429: 29}
        assert await statuses(one, other, 1) == [202]


async def test_who_waits_as_long_as_it_was_told_is_let_in(
    limited: Callable[..., ApiSettings], database: Database
) -> None:
    key = await key_of(database)
    async with running(create_app(limited(rate_limit_key="2/second"))) as api:
        for _ in range(2):
            while (answer := await api.get("/v1/jobs", headers=key)).status_code == 200:
                pass
            wait = int(answer.headers["retry-after"])
            assert wait == 1
            told = time.monotonic()
            await eventually(lambda told=told, wait=wait: time.monotonic() >= told + wait)  # type: ignore[misc]
            assert (await api.get("/v1/jobs", headers=key)).status_code == 200


@pytest.mark.parametrize("quota", [1000, 2000])
async def test_a_large_quota_is_shared_in_lots(limited: Callable[..., ApiSettings], redis_url: str, quota: int) -> None:
    settings = limited(rate_limit_tenant=f"{quota}/hour")
    processes = [RateLimits(settings, patience=5.0) for _ in range(2)]
    someone = Principal("key:k", "default", EVERYTHING, key_id="k")

    async def send(limits: RateLimits, requests: int) -> int:
        let_in = 0
        for _ in range(requests):
            with contextlib.suppress(Problem):
                await limits.admit(someone, {})
                let_in += 1
            await asyncio.sleep(0)
        return let_in

    try:
        async with Redis.from_url(redis_url) as redis:
            await redis.config_resetstat()
            let_in = sum(await asyncio.gather(*(send(limits, quota // 10) for limits in processes for _ in range(6))))
            calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        # At worst one lot of each process was left unused.
        assert quota - 2 * quota // SHARE <= let_in <= quota
        assert calls < quota / 4
    finally:
        for limits in processes:
            await limits.stop()


async def test_a_large_quota_that_is_used_up_opens_when_it_said_so(limited: Callable[..., ApiSettings]) -> None:
    limits = RateLimits(limited(rate_limit_key="1500/second"), patience=5.0)
    someone = Principal("key:k", "default", EVERYTHING, key_id="k")
    try:
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                while True:
                    await limits.admit(someone, {})
            opens_at = time.monotonic() + int(refused.value.headers["Retry-After"])
            await eventually(lambda opens_at=opens_at: time.monotonic() >= opens_at)  # type: ignore[misc]
            await limits.admit(someone, {})
    finally:
        await limits.stop()


async def test_a_process_that_is_busy_does_not_take_redis_for_lost(limited: Callable[..., ApiSettings]) -> None:
    limits = RateLimits(limited(rate_limit_key="100/minute"), patience=0.2)
    try:
        for number in range(4):
            request = asyncio.create_task(
                limits.admit(Principal(f"key:{number}", "default", EVERYTHING, key_id=str(number)), {})
            )
            for _ in range(3 * number):
                await asyncio.sleep(0)
            time.sleep(0.45)  # noqa: ASYNC251  # code that keeps the loop from looking at anything
            await request
            assert limits.counters.is_shared
    finally:
        await limits.stop()


async def test_redis_that_hangs_delays_a_submit_once_and_limits_go_on(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.main.RateLimits", functools.partial(RateLimits, patience=1.0))
    key, other = await key_of(database), await key_of(database)
    with open_folder(in_memory=True) as folder, EmbeddedValkey(folder / "valkey") as valkey:
        settings = settings_for(database_url, valkey.url, auth="required", rate_limit_key="8/hour")
        app = create_app(settings)
        async with running(app) as api:
            limits: RateLimits = app.state.services.limits
            assert await statuses(api, key, 3) == [202] * 3
            assert valkey.pid is not None
            with frozen(valkey.pid):
                began = time.monotonic()
                assert await statuses(api, key, 6) == [202] * 6
                took = time.monotonic() - began
                assert not limits.counters.is_shared
                # It is counted here now, from nothing: six were let through, and two are left.
                assert await statuses(api, key, 4) == [202, 202, 429, 429]
                assert await statuses(api, other, 1) == [202]
            assert took < 4.0, "one request waited for its patience, and not six"
            await eventually(lambda: limits.counters.is_shared)
            # The count in Redis stood still at three.
            assert set(await statuses(api, await key_of(database), 8)) == {202}


@pytest.mark.usefixtures("patient")
async def test_redis_that_ends_and_comes_back_fails_no_submit(database_url: str, database: Database) -> None:
    with open_folder(in_memory=True) as folder, EmbeddedValkey(folder / "valkey") as valkey:
        app = create_app(settings_for(database_url, valkey.url, auth="required", rate_limit_key="4/hour"))
        async with running(app) as api:
            limits: RateLimits = app.state.services.limits
            assert await statuses(api, await key_of(database), 5) == [202] * 4 + [429]
            assert limits.counters.is_shared
            valkey.stop()
            assert await statuses(api, await key_of(database), 5) == [202] * 4 + [429]
            assert not limits.counters.is_shared
            valkey.start()
            await eventually(lambda: limits.counters.is_shared)
            assert await statuses(api, await key_of(database), 5) == [202] * 4 + [429]
            assert limits.counters.is_shared


@contextlib.asynccontextmanager
async def far_away(url: str, seconds: float) -> AsyncIterator[str]:
    """The address of a server to which every new connection takes so long; what follows is quick."""
    near = urlsplit(url)
    relays: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.transport.abort)
            await asyncio.sleep(seconds)
            from_server, to_server = await asyncio.open_connection(near.hostname, near.port)
            stack.callback(to_server.transport.abort)
            await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(relay(reader, writer))
        relays.add(task)

    async with await asyncio.start_server(taken, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield near._replace(netloc=f"{near.netloc.rpartition(':')[0]}:{port}").geturl()
    for task in relays:
        task.cancel()
    await asyncio.gather(*relays, return_exceptions=True)


async def test_a_redis_that_takes_long_to_connect_to_is_shared_once_it_is_connected(
    database_url: str, redis_url: str
) -> None:
    async with far_away(redis_url, 0.7) as url:
        settings = settings_for(database_url, url, auth="required", rate_limit_key="100/minute")
        limits = RateLimits(settings, patience=0.5)
        someone = Principal("key:k", "default", EVERYTHING, key_id="k")
        try:
            await limits.admit(someone, {})
            assert not limits.counters.is_shared
            await eventually(lambda: limits.counters.is_shared)
            await limits.admit(someone, {})
            assert limits.counters.is_shared
        finally:
            await limits.stop()


async def test_without_redis_each_process_counts_for_itself(database_url: str, database: Database) -> None:
    key = await key_of(database)
    settings = settings_for(database_url, "redis://127.0.0.1:1/0", auth="required", rate_limit_key="4/hour")
    async with running(create_app(settings)) as api:
        assert await statuses(api, key, 6) == [202] * 4 + [429] * 2


async def test_a_batch_counts_as_a_request_for_every_hundred_jobs(
    limited: Callable[..., ApiSettings], database: Database
) -> None:
    key = await key_of(database)
    async with running(create_app(limited(rate_limit_key="8/hour"))) as api:

        async def batch(jobs: int) -> httpx.Response:
            return await api.post("/v1/jobs/batch", json={"jobs": [JOB] * jobs}, headers=key)

        answer = await batch(100)
        assert (answer.status_code, members(answer.headers["ratelimit"])["key"]["r"]) == (202, 7)
        answer = await batch(201)
        assert (answer.status_code, members(answer.headers["ratelimit"])["key"]["r"]) == (202, 4)
        # Never more than half of the limit; and what was refused has taken the one request that every request is.
        answer = await batch(10_000)
        assert (answer.status_code, members(answer.headers["ratelimit"])["key"]["r"]) == (202, 0)
        problem(await batch(1), "quota-exceeded", 429)


async def test_a_batch_that_does_not_fit_is_refused_and_leaves_what_is_left_to_others(
    limited: Callable[..., ApiSettings], database: Database
) -> None:
    key = await key_of(database)
    async with running(create_app(limited(rate_limit_key="8/hour"))) as api:
        assert await statuses(api, key, 5) == [202] * 5
        answer = await api.post("/v1/jobs/batch", json={"jobs": [JOB] * 400}, headers=key)
        found = problem(answer, "quota-exceeded", 429)
        assert found["violated-policies"] == ["key"]
        assert members(answer.headers["ratelimit"])["key"]["r"] == 2
        assert int(answer.headers["retry-after"]) >= 3 * 3600 / 8
        assert await statuses(api, key, 3) == [202, 202, 429]


async def test_who_guesses_at_a_key_is_shut_out_of_it_and_nobody_else_is(
    limited: Callable[..., ApiSettings], database: Database
) -> None:
    key, unused = await key_of(database), await key_of(database)
    app = create_app(limited(rate_limit_auth="3/minute"))

    @contextlib.asynccontextmanager
    async def from_address(address: str) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client

    body = f"errander_{key['Authorization'].split('_')[1]}_{'0' * 32}"
    wrong = {"Authorization": f"Bearer {body}_{keys._checksum(body)}"}
    async with running(app), from_address("2001:db8::1") as guesser, from_address("2001:db8:0:1::1") as other:
        assert [(await guesser.get("/v1/jobs", headers=wrong)).status_code for _ in range(3)] == [401] * 3
        answer = await guesser.get("/v1/jobs", headers=wrong)
        found = problem(answer, "quota-exceeded", 429)
        assert found["violated-policies"] == ["auth"]
        assert members(answer.headers["ratelimit-policy"]) == {"auth": {"q": 3, "w": 60}}
        assert int(answer.headers["retry-after"]) >= int(members(answer.headers["ratelimit"])["auth"]["t"])
        # The rest of its network is the same customer's.
        async with from_address("2001:db8::2") as neighbour:
            problem(await neighbour.get("/v1/jobs", headers=wrong), "quota-exceeded", 429)
            # Whoever has a right key there goes on, also with the key that was guessed at; and no token is ever counted.
            for headers in (key, unused):
                assert (await neighbour.get("/v1/jobs", headers=headers)).status_code == 200
            for _ in range(5):
                answer = await neighbour.get("/v1/jobs", headers={"Authorization": "Bearer e30.e30.e30"})
                problem(answer, "unauthenticated", 401)
        problem(await other.get("/v1/jobs", headers=wrong), "unauthenticated", 401)


async def test_redis_learns_no_names_and_fsck_knows_the_keys(
    limited: Callable[..., ApiSettings], database: Database, redis_url: str
) -> None:
    key = await key_of(database, "acme")
    settings = limited(rate_limit_key="9/minute", rate_limit_tenant="9000/minute")
    async with running(create_app(settings)) as api, Redis.from_url(redis_url) as redis:
        await statuses(api, key, 2)
        await api.get("/v1/jobs", headers={"Authorization": f"Bearer {keys.make().text}"})
        names = sorted([name.decode() async for name in redis.scan_iter("errander:limit:*")])
        assert len(names) == 2, "an invented id leaves nothing behind"
        key_id = key["Authorization"].split("_")[1]
        assert not [name for name in names if "acme" in name or key_id in name or "127.0.0.1" in name]
        assert {await redis.pttl(name) > 0 for name in names} == {True}
        found = await consistency_hints.look(redis, database, consistency_hints.HintLimits())
        assert found.unknown == []


async def test_without_authentication_nobody_is_told_apart_and_nothing_is_limited(
    database_url: str, redis_url: str, database: Database
) -> None:
    settings = settings_for(database_url, redis_url, rate_limit_key="1/hour", rate_limit_tenant="1/hour")
    async with running(create_app(settings)) as api:
        for _ in range(3):
            answer = await api.post("/v1/jobs", json=JOB)
            assert answer.status_code == 202
            assert "ratelimit" not in answer.headers
