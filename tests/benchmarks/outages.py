"""What a job waits when something goes away: a killed leader, an emptied Redis, a Redis that starts again."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

from errander import AsyncClient
from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import add_waiting
from tests.benchmarks.ground import Ground
from tests.benchmarks.rows import row
from tests.benchmarks.stamps import Stamps, listening
from tests.benchmarks.tasks import STAMPS

_RESCUE_SECONDS = 120.0
# A lease so short that a quick run can show that a rescue happens at all.
_QUICK_LEASE = {"lease_seconds": 4, "heartbeat_seconds": 1, "reaper_seconds": 1, "leader_seconds": 2}
_BETWEEN = 0.03
"""Seconds between submits around an outage."""
_AWAY = 2.0
_LATER = 0.7
"""Every other job is due so many seconds after its submit: its hint lies in Redis when that is emptied."""


async def rescue(ground: Ground) -> list[Row]:
    """One run: a worker that leads and runs a job is killed; another one stands by."""
    settings = _QUICK_LEASE if ground.sizes.quick else {}
    async with ground.database() as ledger, listening(ground.folder) as stamps:
        environment = {**ledger.environment, STAMPS: str(stamps.path)}
        leading = await ground.programs.worker(environment, **settings)

        async def leads() -> bool:
            return bool(await ledger.connection.fetchval("SELECT count(*) FROM errander.leaders WHERE until > now()"))

        await leading.until(leads)
        await add_waiting(ledger.connection, 1, "bench.hold", '{"n": 1}')
        await stamps.of("attempt", 1)
        other = await ground.programs.worker(environment, **settings)
        killed = time.monotonic()
        leading.kill()
        again = await stamps.of("attempt", 2, _RESCUE_SECONDS)
        other.kill()
    lease = f", with a lease of {_QUICK_LEASE['lease_seconds']} s" if ground.sizes.quick else ""
    return [row("rescue.seconds", Series.of([again.at - killed]), words={"lease": lease})]


async def recovery(ground: Ground) -> list[Row]:
    """The longest wait of any job while jobs are submitted steadily and Redis is emptied, then away for a while."""

    async def flush() -> None:
        async with ground.redis() as client:
            await client.flushall()

    async def restart() -> None:
        await asyncio.to_thread(ground.valkey.stop)
        await asyncio.sleep(_AWAY)
        ground.valkey.start()  # on this thread, so that it dies with this process whatever happens

    waits: dict[str, list[float]] = {"flush": [], "restart": []}
    rounds = 1 if ground.sizes.quick else 3
    async with ground.database() as ledger, listening(ground.folder) as stamps:
        environment = {**ledger.environment, STAMPS: str(stamps.path)}
        api = await ground.programs.api(environment)
        worker = await ground.programs.worker(environment)
        numbers = itertools.count()
        async with AsyncClient(f"http://127.0.0.1:{api.port}") as client:
            for _ in range(rounds):
                waits["flush"].append(await _longest_wait(client, stamps, numbers, flush, ground.sizes.around))
                waits["restart"].append(await _longest_wait(client, stamps, numbers, restart, ground.sizes.around))
        ground.programs.end(api, worker)
    return [row(f"recovery.{what}", Series.of(found)) for what, found in waits.items()]


async def _longest_wait(
    client: AsyncClient,
    stamps: Stamps,
    numbers: "itertools.count[int]",
    outage: Callable[[], Awaitable[None]],
    around: float,
) -> float:
    """Seconds from due to run, of the job that waited longest."""
    due: dict[int, float] = {}
    over = asyncio.Event()

    async def submitting() -> None:
        while not over.is_set():
            number = next(numbers)
            later = _LATER if number % 2 else 0.0
            await client.submit("bench.stamp", {"n": number}, delay=later or None)
            due[number] = time.monotonic() + later
            await asyncio.sleep(_BETWEEN)

    async with asyncio.TaskGroup() as group:
        group.create_task(submitting())
        await asyncio.sleep(around)
        await outage()
        await asyncio.sleep(around)
        over.set()
    return max([(await stamps.of("ran", number)).at - moment for number, moment in due.items()])
