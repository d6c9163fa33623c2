"""Processes whose time of day is ten minutes off, to either side: nothing is early, nobody is declared dead."""

import os
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults.apis import announce, serving
from tests.faults.ledger import Ledger
from tests.faults.processes import LEASE, ROOT, Fleet
from tests.fixtures.jobs import JobBook, seconds_between
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

SKEW = 600.0
DELAY = 1.5


def _skewed(seconds: float) -> dict[str, str]:
    path = os.pathsep.join([str(Path(__file__).parent / "skewed"), str(ROOT)])
    return {"PYTHONPATH": path, "FAULT_CLOCK_SKEW": str(seconds)}


async def test_clocks_that_are_ten_minutes_off_start_nothing_early_and_kill_nobody(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    await announce(book.database)
    ahead, behind = (
        fleet.start(slots=5, **_skewed(seconds))  # type: ignore[arg-type]  # settings are named alike
        for seconds in (SKEW, -SKEW)
    )
    async with serving(fleet, _skewed(SKEW)) as (api,):
        for worker in (ahead, behind):
            await worker.ready()
        long = await book.submit_many("fault.sleep", [{"seconds": LEASE + 1.0}] * 8)
        await eventually(lambda: len(ledger.starts()) == 8, 20)
        assert {line.pid for line in ledger.starts()} == {ahead.pid, behind.pid}
        asked = time.monotonic()
        answers = [await api.submit(delay=DELAY, expires_in=60) for _ in range(10)]
        ids = [UUID(answer.json()["id"]) for answer in answers]
        records = await book.succeeds(*long, *ids)
        offsets = [abs(line.wall - time.time()) for line in ledger.starts()]
    assert min(offsets) > SKEW / 2, "the clocks were to be wrong"
    delayed = [line for line in ledger.starts() if line.job in set(map(str, ids))]
    assert min(line.at for line in delayed) - asked >= DELAY
    assert min(seconds_between(record.run_at, record.started_at) for record in records) >= 0
    assert {record.crashes for record in records} == {0}
    assert await book.workers(alive=False) == []
    ledger.started_once()
