"""Pickup on an idle system: from the 202 in the client's hand to the first line of the task's code, one job at a time.

Both moments are CLOCK_MONOTONIC of one machine. Blocks of samples alternate between ours and stock arq's. A worker of arq's
polls twice a second, so its jobs come at random moments of that. The median of several depends on how their polls happen to
lie, from that of one to that of one divided by their number, so the baseline is one; several are measured afterwards. How
many of ours were woken is counted by the tokens that were put on the wake lists.
"""

import asyncio
import json
import random
import time
from typing import Any

from arq.connections import RedisSettings, create_pool

from tests.benchmarks.figures import Row, Series, percentile
from tests.benchmarks.ground import Ground
from tests.benchmarks.programs import BIN, Program
from tests.benchmarks.rows import row
from tests.benchmarks.stamps import Stamps, listening
from tests.benchmarks.tasks import STAMPS


async def pickup(ground: Ground) -> list[Row]:
    """Medians of rounds, the 99th percentile over all samples, and workers woken a job."""
    own: list[list[float]] = []
    stock: list[list[float]] = []
    woken: list[float] = []
    async with ground.database() as ledger, listening(ground.folder) as stamps:
        environment = {**ledger.environment, STAMPS: str(stamps.path)}
        api = await ground.programs.api(environment)
        workers = [await ground.programs.worker(environment) for _ in range(ground.sizes.idle_workers)]
        peers = await _stock_workers(ground, environment, 1)
        numbers = iter(range(10**9))
        await _ours(stamps, api, [next(numbers) for _ in range(5)])  # connections are opened, plans are made
        for number in range(ground.sizes.rounds):
            for kind in ("ours", "arq")[:: 1 if number % 2 == 0 else -1]:
                if kind == "ours":
                    before = await _tokens(ground)
                    own.append(await _ours(stamps, api, [next(numbers) for _ in range(ground.sizes.pickups)]))
                    woken.append((await _tokens(ground) - before) / ground.sizes.pickups)
                else:
                    block = [next(numbers) for _ in range(ground.sizes.slow_pickups)]
                    stock.append(await _arq(ground, stamps, block))
        peers += await _stock_workers(ground, environment, ground.sizes.idle_workers - 1)
        several = [
            await _arq(ground, stamps, [next(numbers) for _ in range(ground.sizes.slow_pickups)])
            for _ in range(ground.sizes.rounds)
        ]
        ground.programs.end(api, *workers, *peers)
    words = {"workers": str(ground.sizes.idle_workers)}
    return [
        row("pickup.p50", _p50(own), _p50(stock), words=words),
        row("pickup.several", _p50(own), _p50(several), words=words),
        row("pickup.p99", _p99(own), _p99(stock)),
        row("pickup.woken", Series.of(woken)),
    ]


async def _stock_workers(ground: Ground, environment: dict[str, str], count: int) -> list[Program]:
    command = [str(BIN / "arq"), "tests.benchmarks.arq_peer.StockSettings"]
    # A database of its own in the same server: neither sees the other's keys.
    own = {**environment, "REDIS_URL": ground.valkey.url_of(1)}
    peers = [ground.programs.start("arq", command, own) for _ in range(count)]
    for peer in peers:
        await peer.says("Starting worker")
    return peers


def _p50(blocks: list[list[float]]) -> Series:
    return Series.of(percentile(block, 0.5) * 1e3 for block in blocks)


def _p99(blocks: list[list[float]]) -> Series:
    return Series.of([percentile([one for block in blocks for one in block], 0.99) * 1e3])


async def _ours(stamps: Stamps, api: Program, numbers: list[int]) -> list[float]:
    """Seconds from each 202 to the code; below zero where the code ran before the answer was read."""
    found = []
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        for number in numbers:
            await asyncio.sleep(random.uniform(0.02, 0.12))  # at no fixed distance from anybody's timer
            answered = await _submit(reader, writer, number)
            found.append((await stamps.of("ran", number)).at - answered)
    finally:
        writer.close()
        await writer.wait_closed()
    return found


async def _submit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> float:
    """Submits over an open connection; the moment the head of its 202 was read."""
    body = json.dumps({"task": "bench.stamp", "payload": {"n": number}}).encode()
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    answered = time.monotonic()
    if b" 202 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"a submit was answered {head!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return answered


async def _arq(ground: Ground, stamps: Stamps, numbers: list[int]) -> list[float]:
    """Seconds from the return of arq's own enqueue to the code."""
    found = []
    client: Any = await create_pool(RedisSettings.from_dsn(ground.valkey.url_of(1)))
    try:
        for number in numbers:
            await asyncio.sleep(random.uniform(0.02, 0.52))
            await client.enqueue_job("stamped", number)
            enqueued = time.monotonic()
            found.append((await stamps.of("arq", number)).at - enqueued)
    finally:
        await client.aclose()
    return found


async def _tokens(ground: Ground) -> int:
    """Tokens ever put on a wake list: nothing else here uses LPUSH."""
    async with ground.redis() as client:
        stats = await client.info("commandstats")
    return int(stats.get("cmdstat_lpush", {}).get("calls", 0))
