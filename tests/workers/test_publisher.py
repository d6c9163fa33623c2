"""Publishing hints without being waited for."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints
from workers.publisher import Publisher


async def test_hints_that_cannot_be_published_are_dropped(redis_client: Redis) -> None:
    publisher = Publisher("redis://127.0.0.1:1/0")
    publisher.start()
    publisher.offer([Hint(uuid4(), "default", "default", 0.0)] * 10)
    await eventually(lambda: not publisher.healthy)
    publisher.offer([Hint(uuid4(), "default", "default", 0.0)])
    await publisher.stop()
    assert await redis_client.keys() == []


async def test_a_fault_while_publishing_ends_no_publishing(
    redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise KeyError("a fault of ours")

    publisher = Publisher(redis_url)
    with monkeypatch.context() as patched:
        patched.setattr(Hints, "publish", broken)
        publisher.start()
        publisher.offer([Hint(uuid4(), "default", "default", 0.0)])
        await eventually(lambda: not publisher.healthy)

    async def published() -> bool:
        publisher.offer([Hint(uuid4(), "default", "default", 0.0)])
        return bool(await redis_client.zcard("errander:default"))

    await eventually(published)
    await publisher.stop()


async def test_a_queue_that_nobody_serves_is_gone_from_redis_a_day_after_its_last_hint_was_due(
    hints: Hints, redis_client: Redis
) -> None:
    day, horizon = 86_400_000, 60_000
    await hints.publish([Hint(uuid4(), "of-nobody", "low", 0.0), Hint(uuid4(), "of-nobody", "low", 50.0)])
    queue = "errander:of-nobody:low"
    assert await redis_client.zcard(queue) == 2
    assert day + 50_000 < await redis_client.pttl(queue) <= day + horizon
    keys = await redis_client.keys()
    assert len(keys) == 4, "the queue, its wake token and two payloads"
    assert min([await redis_client.pttl(key) for key in keys]) > day - 1000


@pytest.mark.parametrize("hash_of_tasks", ["", "mine"])
async def test_a_mark_of_a_deep_backlog_is_cleared_only_by_who_may(
    hints: Hints, redis_client: Redis, hash_of_tasks: str
) -> None:
    queue = "errander:default"
    await hints.mark_deep(queue, hash_of_tasks)
    assert (await hints.take(queue, 5)).deep
    assert await hints.clear_deep(queue, "theirs") is (hash_of_tasks == "")
    await hints.mark_deep(queue, hash_of_tasks)
    assert await hints.clear_deep(queue, "mine")
    assert not (await hints.take(queue, 5)).deep
