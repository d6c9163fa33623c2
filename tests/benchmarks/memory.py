"""Memory: of an API and a worker process after work, and of Redis when very many jobs are offered to it."""

import asyncio
import random
from collections.abc import Callable

import redis.asyncio as redis
from uuid_utils.compat import uuid7

from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import add_waiting
from tests.benchmarks.ground import Ground
from tests.benchmarks.load import Load, run
from tests.benchmarks.rows import row
from tests.benchmarks.submitting import BODY
from workers.hints import Hint, Hints

_CHUNK = 500  # below what marks a queue deep at once
_PRIORITIES = ("high", "default", "low")
_HORIZON = 60.0


async def memory(ground: Ground) -> list[Row]:
    """Megabytes of each process after it has served and run a good number of jobs."""
    async with ground.database() as ledger:
        api = await ground.programs.api(ledger.environment)
        worker = await ground.programs.worker(ledger.environment)
        await add_waiting(ledger.connection, ground.sizes.jobs)
        await run(Load(api.port, "POST", ("/v1/jobs",), BODY, seconds=ground.sizes.seconds))
        await run(Load(api.port, "GET", ("/v1/jobs?limit=50",), seconds=ground.sizes.seconds))
        await worker.until(ledger.is_drained, 120)
        found = api.memory(), worker.memory()
        ground.programs.end(api, worker)
    return [row("memory.api", Series.of([found[0]])), row("memory.worker", Series.of([found[1]]))]


async def full_slots(ground: Ground) -> list[Row]:
    """What a worker uses whose slots are all full of jobs that only wait, while a thousand more are due."""
    seconds = 3.0 if ground.sizes.quick else 15.0
    async with ground.database() as ledger:
        worker = await ground.programs.worker(ledger.environment)
        await add_waiting(ledger.connection, 1_100, "demo.sleep", '{"seconds": 3600}')

        async def full() -> bool:
            return bool(await ledger.connection.fetchval("SELECT count(*) = 100 FROM errander.running"))

        await worker.until(full, 30)
        await asyncio.sleep(2.0)
        before = worker.cpu()
        await asyncio.sleep(seconds)
        used = worker.cpu() - before
        worker.kill()  # it would wait for its jobs
    return [row("slots.cpu", Series.of([100 * used / seconds]))]


async def redis_memory(ground: Ground) -> list[Row]:
    """The most that Redis ever used while hints for all of them were published and nobody took any.

    Once as it mostly is, all due now and of one priority; once with every window as full as it can get: due now and
    due within the horizon, over all three queues.
    """
    words = {"waiting": f"{ground.sizes.waiting:,}"}
    usual = await _most_used(ground, lambda _: Hint(uuid7(), "default", "default", 0.0))
    worst = await _most_used(ground, _hint_of_any_queue)
    return [
        row("redis.memory", Series.of([usual]), words=words),
        row("redis.worst", Series.of([worst])),
    ]


async def _most_used(ground: Ground, hint: Callable[[int], Hint]) -> float:
    most = 0
    async with ground.redis() as client:
        await client.flushall()
        before = await _used(client)
        hints = Hints(client)
        for start in range(0, ground.sizes.waiting, _CHUNK):
            await hints.publish([hint(number) for number in range(start, start + _CHUNK)])
            most = max(most, await _used(client))
        await client.flushall()
    return (most - before) / 1e6


def _hint_of_any_queue(number: int) -> Hint:
    # By turns of three and of two, so that every queue gets both.
    due_in = 0.0 if number % 2 else random.uniform(1, _HORIZON)
    return Hint(uuid7(), "default", _PRIORITIES[number % 3], due_in)


async def _used(client: "redis.Redis") -> int:
    info = await client.info("memory")
    return int(info["used_memory"])
