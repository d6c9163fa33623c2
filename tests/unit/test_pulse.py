"""The watchdog's judgement of the job loop: when it is stuck, and on whom."""

import asyncio
from typing import Any, cast

import pytest

from workers import pulse as module
from workers.attempt import Attempt
from workers.pulse import NO_DEADLINE_SECONDS, Pulse


class Clock:
    """Stands in for the module's clock."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class _StandIn:
    """As much of an attempt as the pulse looks at."""

    def __init__(self, deadline: float = float("inf"), *, begun: bool = True, task: Any = None) -> None:
        self.begun_at = 100.0 if begun else None
        self.deadline = deadline
        self.task = task

    def is_task(self, task: Any) -> bool:
        return task is self.task


def running(deadline: float = float("inf"), *, begun: bool = True, task: Any = None) -> Attempt:
    return cast("Attempt", _StandIn(deadline, begun=begun, task=task))


async def test_a_loop_that_beats_is_not_stuck_however_late_its_jobs_are(clock: Clock) -> None:
    pulse = Pulse()
    clock.now += 500
    pulse.beat()
    assert not pulse.stuck([running(110.0)], grace=10)


@pytest.mark.parametrize(("passed", "stuck"), [(9, False), (29, False), (31, True)])
async def test_a_silent_loop_is_stuck_when_the_first_deadline_and_the_grace_have_passed(
    clock: Clock, passed: float, stuck: bool
) -> None:
    pulse = Pulse()
    pulse.beat()
    clock.now += passed
    assert pulse.stuck([running(120.0), running(900.0)], grace=10) is stuck


@pytest.mark.parametrize("attempts", [[], [running(begun=False)]])
async def test_a_silent_loop_without_a_deadline_is_given_a_minute(clock: Clock, attempts: list[Attempt]) -> None:
    pulse = Pulse()
    pulse.beat()
    clock.now += NO_DEADLINE_SECONDS - 1
    assert not pulse.stuck(attempts, grace=10)
    clock.now += 2
    assert pulse.stuck(attempts, grace=10)


async def test_a_deadline_that_passed_while_the_loop_was_alive_does_not_shorten_the_grace(clock: Clock) -> None:
    # a thread that cannot be stopped may be long past its time; the loop itself has only just fallen silent
    pulse = Pulse()
    clock.now += 500
    pulse.beat()
    clock.now += 9
    assert not pulse.stuck([running(110.0)], grace=10)


async def test_the_culprit_is_whose_code_the_loop_is_executing(clock: Clock) -> None:
    pulse = Pulse()
    pulse.beat()
    guilty, late = running(task=asyncio.current_task()), running(50.0)
    assert pulse.culprits([late, guilty]) == [guilty]


async def test_where_that_cannot_be_told_all_that_are_past_their_time_are(clock: Clock) -> None:
    pulse = Pulse()
    pulse.beat()
    late, early = running(99.0), running(900.0)
    assert pulse.culprits([late, early]) == [late]
