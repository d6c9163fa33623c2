"""Draining a queue of jobs that do nothing: ours, arq as it comes and tuned, pgqueuer, one process each and one at a time.

The process is started on an empty queue; then all jobs become visible at once. The rate is from the first start to the
last end as each system itself records them; CPU is what the process used from before the jobs were visible until the
queue was found empty.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from arq.constants import default_queue_name, job_key_prefix, result_key_prefix
from arq.jobs import deserialize_result, serialize_job

from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import PAYLOAD, add_waiting
from tests.benchmarks.ground import Ground, Ledger
from tests.benchmarks.pgqueuer_peer import ENTRYPOINT
from tests.benchmarks.programs import BIN, Program
from tests.benchmarks.rows import row

_DRAIN_SECONDS = 120.0
# More than its default of 10, which it is said to be too small for fast jobs; larger ones are no faster here.
_PGQUEUER_BATCH = 200

_SPAN = "SELECT count(*), extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM errander.jobs WHERE status = 'SUCCESS'"
_PGQUEUER_SPAN = """
SELECT count(*) FILTER (WHERE status = 'successful'),
       extract(epoch FROM max(created) FILTER (WHERE status = 'successful')
                          - min(created) FILTER (WHERE status = 'picked'))::float8
FROM pgqueuer_log
"""

# It has nothing else that says it is ready: it has asked for work, found none, and waits.
_IDLE = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state = 'idle'
  AND state_change < clock_timestamp() - interval '300 milliseconds'
"""


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: jobs a second, and microseconds of CPU a job."""

    rate: float
    worker_cpu: float
    postgres_cpu: float


async def drain(ground: Ground) -> list[Row]:
    """Rounds of all of them, in turning order."""
    measures: dict[str, Callable[[Ground], Awaitable[Drained]]] = {
        "ours": _ours,
        "stock": _stock_arq,
        "tuned": _tuned_arq,
        "pgqueuer": _pgqueuer,
    }
    found: dict[str, list[Drained]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(ground.sizes.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(await measures[name](ground))
    return _rows(found)


def _rows(found: Mapping[str, Sequence[Drained]]) -> list[Row]:
    rate = {name: Series.of(one.rate for one in rounds) for name, rounds in found.items()}
    worker = {name: Series.of(one.worker_cpu for one in rounds) for name, rounds in found.items()}
    postgres = {name: Series.of(one.postgres_cpu for one in rounds) for name, rounds in found.items()}
    others = f"tuned arq's worker: {worker['tuned'].median:.0f} µs, pgqueuer's: {worker['pgqueuer'].median:.0f} µs"
    return [
        row("drain.arq", rate["ours"], rate["stock"]),
        row("drain.arq_tuned", rate["ours"], rate["tuned"]),
        row("drain.pgqueuer", rate["ours"], rate["pgqueuer"]),
        row("drain.worker_cpu", worker["ours"], worker["stock"], notes=(others,)),
        row("drain.postgres_cpu", postgres["ours"], postgres["pgqueuer"]),
    ]


async def fleet(ground: Ground) -> list[Row]:
    """Several processes on one queue against one, and whether they ever stood in each other's way for good."""
    many: list[float] = []
    single: list[float] = []
    deadlocks: list[float] = []
    for number in range(ground.sizes.rounds):
        for processes in (1, ground.sizes.fleet)[:: 1 if number % 2 == 0 else -1]:
            async with ground.database() as ledger:
                drained = await ours(ground, ledger, processes=processes)
                (many if processes > 1 else single).append(drained.rate)
                if processes > 1:
                    deadlocks.append(await _deadlocks(ledger))
    words = {"processes": str(ground.sizes.fleet)}
    return [
        row("fleet.rate", Series.of(many), Series.of(single), words=words),
        row("fleet.deadlocks", Series.of(deadlocks)),
    ]


async def _deadlocks(ledger: Ledger) -> float:
    await ledger.connection.execute("SELECT pg_stat_force_next_flush()")
    return float(
        await ledger.connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    )


async def ours(ground: Ground, ledger: Ledger, *, processes: int = 1) -> Drained:
    """Our workers at their defaults over jobs of the sizes of this run."""
    workers = [await ground.programs.worker(ledger.environment) for _ in range(processes)]
    jobs = ground.sizes.jobs
    # Made inside a transaction that commits when everything else is in place.
    async with ledger.connection.transaction():
        await add_waiting(ledger.connection, jobs)
        before = _cpu(ground, *workers)
    await _until(ledger.is_drained)
    after = _cpu(ground, *workers)
    ground.programs.end(*workers)
    count, seconds = await ledger.connection.fetchrow(_SPAN) or (0, 0.0)
    return _drained(jobs, count, seconds, before, after)


async def _ours(ground: Ground) -> Drained:
    async with ground.database() as ledger:
        return await ours(ground, ledger)


async def _stock_arq(ground: Ground) -> Drained:
    # Fewer: at the pace of its poll, half a second for each hundred.
    return await _arq(ground, "StockSettings", ground.sizes.slow_jobs // 2)


async def _tuned_arq(ground: Ground) -> Drained:
    return await _arq(ground, "TunedSettings", ground.sizes.slow_jobs)


async def _arq(ground: Ground, settings: str, jobs: int) -> Drained:
    async with ground.redis() as client:
        await client.flushall()
        worker = ground.programs.start(
            "arq",
            [str(BIN / "arq"), f"tests.benchmarks.arq_peer.{settings}"],
            {"REDIS_URL": ground.valkey.url},
        )
        await worker.says("Starting worker")
        now = int(time.time() * 1000)
        call = serialize_job("echo", (), {"n": 1, "note": PAYLOAD}, None, now)
        ids = [f"bench-{number}" for number in range(jobs)]
        # As arq's client writes them; the queue itself last, so that all become visible at once.
        await client.mset({job_key_prefix + one: call for one in ids})
        before = _cpu(ground, worker)
        await client.zadd(default_queue_name, dict.fromkeys(ids, now))

        async def empty() -> bool:
            return not await client.zcard(default_queue_name)

        await _until(empty)
        after = _cpu(ground, worker)
        ground.programs.end(worker)
        kept = [found for found in await client.mget([result_key_prefix + one for one in ids]) if found]
        results = [deserialize_result(found) for found in kept]
        began, ended = min(one.start_time for one in results), max(one.finish_time for one in results)
        await client.flushall()
    return _drained(jobs, sum(one.success for one in results), (ended - began).total_seconds(), before, after)


async def _pgqueuer(ground: Ground) -> Drained:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    jobs = ground.sizes.jobs
    async with ground.database() as ledger:
        queries = Queries(AsyncpgDriver(ledger.connection))
        await queries.install()
        command = [sys.executable, "-m", "tests.benchmarks.pgqueuer_peer", str(_PGQUEUER_BATCH)]
        worker = ground.programs.start("pgqueuer", command, ledger.environment)

        async def listens() -> bool:
            return bool(await ledger.connection.fetchval(_IDLE))

        await worker.until(listens)
        async with ledger.connection.transaction():
            await queries.enqueue([ENTRYPOINT] * jobs, [PAYLOAD.encode()] * jobs, [0] * jobs)
            before = _cpu(ground, worker)

        async def empty() -> bool:
            return not await ledger.connection.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)")

        await _until(empty)
        after = _cpu(ground, worker)
        ground.programs.end(worker)
        count, seconds = await ledger.connection.fetchrow(_PGQUEUER_SPAN) or (0, 0.0)
    return _drained(jobs, count, seconds, before, after)


def _cpu(ground: Ground, *workers: Program) -> tuple[float, float]:
    return sum(worker.cpu() for worker in workers), ground.postgres_cpu()


def _drained(jobs: int, done: int, seconds: float, before: tuple[float, float], after: tuple[float, float]) -> Drained:
    if done != jobs:
        raise RuntimeError(f"{done} of {jobs} jobs were run")
    worker, postgres = (late - early for late, early in zip(after, before, strict=True))
    return Drained(jobs / seconds, worker / jobs * 1e6, postgres / jobs * 1e6)


async def _until(check: Callable[[], Awaitable[bool]]) -> None:
    # Seldom enough to cost nothing that shows, and only CPU depends on it, not the rate.
    async with asyncio.timeout(_DRAIN_SECONDS):
        while not await check():  # noqa: ASYNC110 - other processes set no event here
            await asyncio.sleep(0.05)
