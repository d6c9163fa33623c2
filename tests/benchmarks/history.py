"""Finished jobs in the table: claiming, submitting, reading and listing beside them and without them."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from db import attempts
from db.engine import Database
from tests.benchmarks.figures import Row, Series
from tests.benchmarks.filling import TASK, add_finished, add_waiting
from tests.benchmarks.ground import Ground, Ledger
from tests.benchmarks.load import Load, run
from tests.benchmarks.programs import Program
from tests.benchmarks.rows import row
from tests.benchmarks.submitting import BODY, limits

_BASE = 1_000
"""Finished jobs in the other database: enough to read and to list."""
_CLAIMS = 20_000
_QUICK_CLAIMS = 2_000
_BATCH = 100
_IDS = 1_000

_ENLIST = """
INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots, beat_at)
VALUES ($1, 'default', '{default}', '{}', 'bench', 1, '0', 1, now() + interval '1 day')
"""


@dataclass(frozen=True, slots=True)
class _Side:
    """One database with an API of its own, and ids of jobs to read."""

    ledger: Ledger
    api: Program
    ids: Sequence[UUID]


async def history(ground: Ground) -> list[Row]:
    """Rounds of all four, on both sides in turn."""
    rates: dict[str, dict[str, list[float]]] = {
        what: {"full": [], "base": []} for what in ("claim", "submit", "get", "list")
    }
    notes: dict[str, set[str]] = {what: set() for what in rates}
    async with contextlib.AsyncExitStack() as stack:
        sides = {
            "base": await _side(ground, await stack.enter_async_context(ground.database()), _BASE),
            "full": await _side(ground, await stack.enter_async_context(ground.database()), ground.sizes.history),
        }
        # The first round of a full run is thrown away: it finds caches as the filling left them.
        for number in range(0 if ground.sizes.quick else -1, ground.sizes.rounds):
            for what, found in rates.items():
                for name in ("full", "base")[:: 1 if number % 2 == 0 else -1]:
                    rate, said = await _measure(ground, sides[name], what)
                    if number < 0:
                        continue
                    found[name].append(rate)
                    notes[what] |= said
        ground.programs.end(*(side.api for side in sides.values()))
    words = {"history": f"{ground.sizes.history:,}", "base": f"{_BASE:,}"}
    return [
        row(
            f"history.{what}",
            Series.of(found["full"]),
            Series.of(found["base"]),
            words=words,
            notes=tuple(sorted(notes[what])),
        )
        for what, found in rates.items()
    ]


async def _side(ground: Ground, ledger: Ledger, finished: int) -> _Side:
    await add_finished(ledger.connection, finished, said=lambda words: print(f"  {words}", flush=True))
    # TABLESAMPLE, because sorting ten million ids by chance takes longer than what is measured with them.
    share = min(100.0, 100.0 * 1.5 * _IDS / finished)
    rows = await ledger.connection.fetch(f"SELECT id FROM errander.jobs TABLESAMPLE BERNOULLI ({share}) LIMIT {_IDS}")
    return _Side(ledger, await ground.programs.api(ledger.environment), [one["id"] for one in rows])


async def _measure(ground: Ground, side: _Side, what: str) -> tuple[float, set[str]]:
    if what == "claim":
        return await _claims(side.ledger, _QUICK_CLAIMS if ground.sizes.quick else _CLAIMS), set()
    port, seconds = side.api.port, ground.sizes.seconds / 2
    match what:
        case "submit":
            load = Load(port, "POST", ("/v1/jobs",), BODY, seconds=seconds)
        case "get":
            load = Load(port, "GET", tuple(f"/v1/jobs/{one}" for one in side.ids), seconds=seconds)
        case _:
            load = Load(port, "GET", ("/v1/jobs?limit=50",), seconds=seconds)
    taken = await run(load)
    if what == "submit":
        await _forget_waiting(side.ledger)
    return taken.rate, limits(taken)


async def _claims(ledger: Ledger, n: int) -> float:
    """Jobs a second through the shipped statements, claim by head and finish, over one connection."""
    await add_waiting(ledger.connection, n)
    worker = uuid4()
    await ledger.connection.execute(_ENLIST, worker)
    done: list[UUID] = []
    async with await Database.open(ledger.url, size=1) as database:
        began = time.perf_counter()
        while True:
            head = await attempts.claim_by_head(
                database.link, _BATCH, worker=worker, lease=30, pool="default", priority="default", tasks=[TASK]
            )
            if not head.jobs:
                break
            ids = [job.id for job in head.jobs]
            numbers = [job.attempt for job in head.jobs]
            results = [job.payload for job in head.jobs]
            moved = await database.link.fetch("succeed", ids=ids, attempts=numbers, results=results, worker=worker)
            done += [one["id"] for one in moved]
        took = time.perf_counter() - began
    if len(done) != n:
        raise RuntimeError(f"{len(done)} of {n} jobs were claimed and finished")
    await ledger.connection.execute("DELETE FROM errander.jobs WHERE id = ANY($1)", done)
    return n / took


async def _forget_waiting(ledger: Ledger) -> None:
    """Takes the jobs of a load out again, so that no measurement finds what another one left."""
    await ledger.connection.execute("DELETE FROM errander.jobs j USING errander.ready r WHERE j.id = r.id")
    await ledger.connection.execute("TRUNCATE errander.ready")
