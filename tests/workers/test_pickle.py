"""Whoever can write to Redis can write pickles there. They are put wherever a worker or the API reads, and none is loaded.

arq pickles its calls and results by default, so that such bytes run as code in a stock worker of arq.
"""

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from db.engine import Database
from db.lifecycle import Priority
from service.auth.principal import ANYONE
from service.checks.consistency_hints import HintLimits, look, repair
from service.waiting import Waiting
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from tests.workers.conftest import HINTS_ONLY, RunWorker
from workers.hints import FINAL_CHANNEL, Hint, Hints, health_key, queue_name


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


class Trap:
    """Pickles of every protocol, and whether any of them was loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.pickles = [pickle.dumps(Bomb(path), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]

    @property
    def has_fired(self) -> bool:
        return self._path.exists()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    """Set, and shown to work first."""
    made = Trap(tmp_path / "fired")
    for content in made.pickles:
        pickle.loads(content)
        assert made.has_fired
        (tmp_path / "fired").rmdir()
    return made


async def hinted(book: JobBook, hints: Hints) -> UUID:
    """A job that is found by its hint."""
    job = await book.submit("fault.quick", {"n": 1})
    await hints.publish([Hint(job, "default", "default", 0.0)])
    return job


async def test_no_pickle_in_redis_is_loaded_by_a_worker(
    run_worker: RunWorker, book: JobBook, hints: Hints, redis_client: Redis, trap: Trap
) -> None:
    queues = [queue_name("default", priority) for priority in Priority]
    health = health_key("default", [str(priority) for priority in Priority])
    async with run_worker(head=HINTS_ONLY) as running:
        for content in trap.pickles:
            # the call of a job that is really there, its result, its retries, and the health of the worker
            job = await book.submit("fault.quick", {"n": 1})
            for name in ("job", "result", "retry", "in-progress"):
                await redis_client.set(f"arq:{name}:{job}", content)
            await redis_client.set(health, content)
            for queue in queues:
                await redis_client.zadd(queue, {content: 0, str(uuid4()).encode(): 0})
            await redis_client.zadd(queues[1], {str(job): 0})
            await redis_client.lpush(f"{queues[1]}:wake", content)  # type: ignore[misc]  # redis-py's union
            (record,) = await book.succeeds(job)
            assert record.attempt == 1
        for content in (trap.pickles[0], trap.pickles[-1]):
            # where a queue, its mark or its token should be, there is a pickle
            for queue in queues:
                await redis_client.delete(queue, f"{queue}:deep", f"{queue}:wake")
                await redis_client.set(queue, content)
                await redis_client.set(f"{queue}:deep", content, px=1)
            await redis_client.lpush(f"{queues[0]}:wake", content)  # type: ignore[misc]  # redis-py's union
            await eventually(lambda: taken(redis_client, queues), 20, message="the worker did not clear its queues")
        await book.succeeds(await hinted(book, hints))
        assert not running.task.done()
    assert not trap.has_fired


async def taken(redis: Redis, queues: list[str]) -> bool:
    """Whether no queue is of another type any more."""
    return not any([await redis.exists(queue, f"{queue}:deep") for queue in queues])


async def test_no_pickle_in_redis_is_loaded_by_the_api(
    redis_client: Redis, redis_url: str, database: Database, book: JobBook, trap: Trap
) -> None:
    job = await book.submit("fault.quick")
    waiting = Waiting(database.link, redis_url)
    waiting.start()
    try:
        async with waiting.watch(job, ANYONE) as watch:
            await eventually(lambda: listens(redis_client))
            for content in trap.pickles:
                await redis_client.publish(FINAL_CHANNEL, content)
            await redis_client.publish(FINAL_CHANNEL, str(job))
            assert await watch.until(time.monotonic() + 10), "it still listens"
    finally:
        await waiting.stop()
    assert not trap.has_fired


async def listens(redis: Redis) -> bool:
    """Whether somebody listens for jobs that have ended."""
    return bool((await redis.pubsub_numsub(FINAL_CHANNEL))[0][1])


async def test_no_pickle_in_redis_is_loaded_by_the_check_of_hints(
    redis_client: Redis, database: Database, book: JobBook, trap: Trap
) -> None:
    job = await book.submit("fault.quick")
    for number, content in enumerate(trap.pickles):
        await redis_client.zadd("errander:default", {content: 0})
        await redis_client.set(f"errander:{number}", content)
    await redis_client.set(f"arq:job:{job}", trap.pickles[-1])
    seen = await look(redis_client, database, HintLimits())
    assert len(seen.malformed) == len(trap.pickles)
    assert await repair(redis_client, database, seen)
    assert await redis_client.zcard("errander:default") == 0
    assert not trap.has_fired
