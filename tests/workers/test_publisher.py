"""Publishing hints without being waited for."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints
from workers.publisher import Publisher


async def test_hints_that_cannot_be_published_are_dropped_and_counted() -> None:
    publisher = Publisher("redis://127.0.0.1:1/0")
    publisher.start()
    publisher.offer([Hint(uuid4(), "default", "default", 0.0)] * 10)
    await eventually(lambda: publisher.dropped == 10)
    assert not publisher.healthy
    publisher.offer([Hint(uuid4(), "default", "default", 0.0)])
    assert publisher.dropped == 11
    await publisher.stop()


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
