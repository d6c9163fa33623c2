"""A deep backlog: a slice of it is drained as fast as the same slice alone."""

import contextlib

from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import add_waiting
from tests.benchmarks.ground import Ground, Ledger
from tests.benchmarks.rows import row

_SLICE = 10_000
_QUICK_SLICE = 2_000
_CHUNK = 250_000
_DRAIN_SECONDS = 120.0
_RETIRED = 75

# The earliest ends of this round: a worker that is told to retire ends what it has begun, which is a little more.
_RATE = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(started_at))::float8
FROM (SELECT started_at, finished_at FROM errander.jobs WHERE worker_id = $2 AND status = 'SUCCESS'
      ORDER BY finished_at LIMIT $1::int) AS first
"""


async def backlog(ground: Ground) -> list[Row]:
    """Rounds of a slice off the deep queue, and of a queue that is no more than the slice."""
    size = _QUICK_SLICE if ground.sizes.quick else _SLICE
    deep: list[float] = []
    shallow: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        few = await stack.enter_async_context(ground.database())
        many = await stack.enter_async_context(ground.database())
        for start in range(0, ground.sizes.waiting, _CHUNK):
            await add_waiting(many.connection, min(_CHUNK, ground.sizes.waiting - start))
        # Two more rounds than elsewhere, because each is short.
        for number in range(1 if ground.sizes.quick else ground.sizes.rounds + 2):
            for kind in ("deep", "shallow")[:: 1 if number % 2 == 0 else -1]:
                if kind == "deep":
                    await many.settle()
                    deep.append(await _slice(ground, many, size))
                    await add_waiting(many.connection, size)
                else:
                    await few.empty()
                    await add_waiting(few.connection, size)
                    await few.settle()
                    shallow.append(await _slice(ground, few, size))
    words = {"waiting": f"{ground.sizes.waiting:,}", "few": f"{size:,}"}
    return [row("backlog.rate", Series.of(deep), Series.of(shallow), words=words)]


async def _slice(ground: Ground, ledger: Ledger, size: int) -> float:
    """Jobs a second of one worker that retires after so many."""
    async with ground.redis() as client:
        await client.flushall()
    worker = await ground.programs.worker(ledger.environment, max_jobs=size, supervised=1)
    code = await worker.ended(_DRAIN_SECONDS)
    if code != _RETIRED:
        raise RuntimeError(f"the worker ended with {code}:\n{worker.log[-2000:]}")
    worker_id = await ledger.connection.fetchval("SELECT id FROM errander.workers WHERE pid = $1", worker.process.pid)
    count, seconds = await ledger.connection.fetchrow(_RATE, size, worker_id) or (0, 0.0)
    if count != size:
        raise RuntimeError(f"{count} of {size} jobs were run")
    return float(count / seconds)
