"""Hints that cannot be: found in Redis, removed by a repair, and none of what is on its way among them."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from db.consistency_rules import Found
from db.engine import Database
from service.checks.consistency_hints import RULES, HintLimits, look, repair
from tests.fixtures.jobs import JobBook
from workers.hints import Hint, Hints, health_key

QUEUE = "errander:default"
LIMITS = HintLimits(window=5, horizon=60.0)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The test's own client."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def now_ms(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return float(seconds * 1000 + micros / 1000)


async def ended(book: JobBook) -> UUID:
    job = await book.submit("demo.echo")
    await book.cancel(job)
    return job


async def codes(redis: Redis, database: Database) -> dict[str, Found]:
    return (await look(redis, database, LIMITS)).found


async def mended(redis: Redis, database: Database) -> dict[str, int]:
    """What a repair did; afterwards it must be clean."""
    done = await repair(redis, database, await look(redis, database, LIMITS))
    left = await codes(redis, database)
    assert not {code for code in left if RULES[code].repairable}
    return {one.code: one.count for one in done}


async def test_what_publishers_and_workers_write_is_as_it_should_be(
    redis: Redis, database: Database, book: JobBook
) -> None:
    waiting, later, over = await book.submit("demo.echo"), await book.submit("demo.echo", delay=30.0), await ended(book)
    hints = Hints(redis, window=5, horizon=60)
    await hints.publish([Hint(waiting, "default", "default", 0.0), Hint(later, "gpu", "low", 30.0)])
    # the job ended a moment ago, or was cancelled while its hint waits to fall due: both hints are on their way out
    await hints.publish([Hint(over, "default", "high", 0.0), Hint(over, "default", "low", 50.0)])
    await hints.mark_deep("errander:gpu:high", "hash")
    await redis.set(health_key("default", ["high", "default", "low"]), "well", px=1000)
    await redis.set(health_key("gpu", ["low"]), "well", px=1000)
    seen = await look(redis, database, LIMITS)
    assert seen.found == {}
    assert seen.looked_at > 4


async def test_members_that_are_no_ids_are_found_and_removed(redis: Redis, database: Database) -> None:
    for member in (b"nonsense", b"\xff\xfe", b"0199A7C1-6D2E-7C44-9F7E-0D9F0A2B1C3D"):
        await redis.zadd("errander:gpu:high", {member: 9e15})
    found = await codes(redis, database)
    assert set(found) == {"hint-malformed"}
    assert found["hint-malformed"].count == 3
    assert found["hint-malformed"].examples[0].startswith("errander:gpu:high ")
    assert await mended(redis, database) == {"hint-malformed": 3}


async def test_hints_of_jobs_that_are_gone_or_long_over_are_found_and_removed(
    redis: Redis, database: Database, book: JobBook
) -> None:
    gone, over, far, waiting = uuid7(), await ended(book), await ended(book), await book.submit("demo.echo")
    at = await now_ms(redis)
    await redis.zadd(QUEUE, {str(gone): at, str(over): at - 11_000, str(far): at + 200_000, str(waiting): at - 60_000})
    await redis.set(f"arq:job:{over}", "payload")
    found = await codes(redis, database)
    assert set(found) == {"hint-stale"}
    assert set(found["hint-stale"].examples) == {str(gone), str(over), str(far)}
    assert await mended(redis, database) == {"hint-stale": 3}
    assert await redis.zrange(QUEUE, 0, -1) == [str(waiting).encode()]
    assert not await redis.exists(f"arq:job:{over}")


async def test_a_hint_of_a_job_that_was_replayed_since_it_was_found_is_kept(
    redis: Redis, database: Database, book: JobBook
) -> None:
    over = await ended(book)
    await redis.zadd(QUEUE, {str(over): await now_ms(redis) - 60_000})
    seen = await look(redis, database, LIMITS)
    assert set(seen.found) == {"hint-stale"}
    async with database.begin() as link:
        from db import jobs

        await jobs.replay(link, "default", [over])
    assert await repair(redis, database, seen) == []
    assert await redis.zcard(QUEUE) == 1


async def test_a_mark_that_never_expires_gets_its_end(redis: Redis, database: Database) -> None:
    await redis.set(f"{QUEUE}:deep", "")
    found = await codes(redis, database)
    assert found == {"deep-unbounded": Found("deep-unbounded", 1, (f"{QUEUE}:deep",))}
    assert await mended(redis, database) == {"deep-unbounded": 1}
    assert 0 < await redis.pttl(f"{QUEUE}:deep") <= 2000


async def test_payload_keys_of_our_jobs_without_a_hint_are_found_and_others_are_not_ours(
    redis: Redis, database: Database, book: JobBook
) -> None:
    left, hinted = await book.submit("demo.echo"), await book.submit("demo.echo", pool="gpu")
    foreign = uuid7()
    for job in (left, hinted, foreign):
        await redis.set(f"arq:job:{job}", "payload")
    await redis.set("arq:job:theirs", "payload")
    await redis.zadd("errander:gpu:default", {str(hinted): await now_ms(redis)})
    assert await codes(redis, database) == {"payload-leftover": Found("payload-leftover", 1, (str(left),))}
    assert await mended(redis, database) == {"payload-leftover": 1}
    assert await redis.exists(f"arq:job:{hinted}", f"arq:job:{foreign}", "arq:job:theirs") == 3


async def test_a_queue_beyond_its_bound_and_keys_of_nobody_are_told_and_left(
    redis: Redis, database: Database, book: JobBook
) -> None:
    at = await now_ms(redis)
    ids = await book.submit_many("demo.echo", [{}] * 11)
    await redis.zadd(QUEUE, {str(job): at for job in ids})
    await redis.set("errander:default:odd", "?")
    await redis.set("errander:low", "no queue")
    found = await codes(redis, database)
    assert found["hint-window"] == Found("hint-window", 1, (QUEUE,))
    assert found["redis-key-unknown"] == Found("redis-key-unknown", 2, ("errander:default:odd", "errander:low"))
    assert await mended(redis, database) == {}
    assert await redis.exists("errander:default:odd", "errander:low") == 2


async def test_what_is_looked_at_is_bounded(redis: Redis, database: Database) -> None:
    await redis.zadd(QUEUE, {f"bad {n}": n for n in range(50)})
    seen = await look(redis, database, HintLimits(members=20))
    assert seen.found["hint-malformed"].count == 20
