"""What the control thread keeps up: an outage is told when it begins and when it ends, and a fault of ours each time."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest

from db import workers
from db.errors import Unavailable
from tests.fixtures.logs import captured
from workers import keeping
from workers.held import Held
from workers.keeping import Kept, keep
from workers.lease import Lease
from workers.orders import Shared
from workers.progress import ProgressBoard
from workers.pulse import Pulse
from workers.roll_call import RollCalls


class Scripted(Kept):
    """Ends its steps as it is told, then waits for ever."""

    name = "scripted"

    def __init__(self, *ends: Exception | bool) -> None:
        super().__init__(0.0)
        self._ends = list(ends)
        self.done = asyncio.Event()

    async def run_once(self) -> bool:
        if not self._ends:
            self.done.set()
            await asyncio.Event().wait()
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


async def said(*ends: Exception | bool) -> list[str]:
    """The events of the log that steps with such ends cause."""
    kept = Scripted(*ends)
    with captured(keeping) as lines:
        task = asyncio.create_task(keep(kept))
        await kept.done.wait()
        task.cancel()
        await asyncio.wait({task})
    return [line["event"] for line in lines]


async def test_an_outage_is_told_once_and_its_end_by_the_first_step_that_asked() -> None:
    away = Unavailable("connection refused")
    assert await said(True, away, False, away, False, False, away, True, True) == [
        "control.unavailable",
        "control.available",
    ]


async def test_a_fault_of_ours_is_told_each_time_and_ends_no_outage() -> None:
    assert await said(KeyError("x"), Unavailable("away"), KeyError("x"), True) == [
        "control.broken_step",
        "control.unavailable",
        "control.broken_step",
        "control.available",
    ]


async def test_a_roll_call_without_reason_asks_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(workers, "roll_call", nothing)
    shared = Shared(Held(), Lease(30.0), ProgressBoard(), Pulse())
    calls = RollCalls(cast("Any", None), uuid4(), shared, cast("Any", None), heartbeat=3600.0)
    assert [await calls.run_once() for _ in range(2)] == [True, False]
