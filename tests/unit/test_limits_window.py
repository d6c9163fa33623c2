"""Permits in lots: never too many in a window, one fetch for all who wait, nobody left waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.limits.counters import Count, Counters
from service.limits.rates import rate_of
from service.limits.window import SHARE, Window, life_of


class World:
    """A clock that stands still until it is told, and an exact count that all processes share."""

    def __init__(self, text: str) -> None:
        rate = rate_of("key", text)
        assert rate is not None
        self.rate = rate
        self.now = 1000.0
        self.taken: list[float] = []
        self.asked = 0
        self.fails = False
        self.tasks: set[asyncio.Task[None]] = set()

    def window(self) -> Window:
        return Window(self.rate, "key/someone", cast("Counters", self), self._spawn, lambda: self.now)

    async def ask(self, rate: object, identity: str, question: Callable[[Count], Awaitable[int]]) -> int:
        del rate, identity
        self.asked += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ValueError("broken")
        return await question(cast("Count", self))

    async def take(self, permits: int) -> bool:
        await asyncio.sleep(0)
        if len(self._inside()) + permits > self.rate.quota:
            return False
        self.taken += [self.now] * permits
        return True

    async def left(self) -> tuple[int, float]:
        await asyncio.sleep(0)
        inside = self._inside()
        oldest = inside[0] if inside else self.now
        return self.rate.quota - len(inside), oldest + self.rate.seconds - self.now

    def _inside(self) -> list[float]:
        return [at for at in self.taken if at > self.now - self.rate.seconds]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def settled(self) -> None:
        while self.tasks:
            await asyncio.wait(self.tasks)


async def let_through(world: World, windows: list[Window], bursts: list[tuple[int, float, int]]) -> list[float]:
    """When requests were let through: each burst is of a process, after a pause, of so many at once."""
    moments: list[float] = []
    for process, pause, requests in bursts:
        world.now += pause
        answers = await asyncio.gather(*(windows[process % len(windows)].take() for _ in range(requests)))
        moments += [world.now] * sum(answers)
        await world.settled()
    return moments


# Pauses about as long as a permit lives, and bursts about as large as a quota: what is at the edge of a window.
PAUSES = st.one_of(st.sampled_from([0.001, 0.02, 0.09, 0.11, 0.9, 0.99]), st.floats(0, 1.2))
BURSTS = st.lists(st.tuples(st.integers(0, 2), PAUSES, st.integers(1, 200)), min_size=1, max_size=30)


@settings(max_examples=120)
@given(text=st.sampled_from(["1/second", "3/second", "40/second", "150/second", "400 per 2 seconds"]), bursts=BURSTS)
def test_no_window_ever_has_more_than_its_quota(text: str, bursts: list[tuple[int, float, int]]) -> None:
    world = World(text)
    moments = asyncio.run(let_through(world, [world.window() for _ in range(3)], bursts))
    ahead = life_of(world.rate) if world.rate.quota >= 100 else 0.0
    for start in moments:
        inside = [at for at in moments if start <= at < start + world.rate.seconds - ahead]
        assert len(inside) <= world.rate.quota


@settings(max_examples=60)
@given(quota=st.integers(1, 99), processes=st.integers(1, 3), requests=st.lists(st.integers(1, 20), max_size=30))
def test_a_small_quota_is_used_to_the_last_permit_over_any_number_of_processes(
    quota: int, processes: int, requests: list[int]
) -> None:
    world = World(f"{quota}/minute")
    bursts = [(number, 0.01, many) for number, many in enumerate(requests)]
    moments = asyncio.run(let_through(world, [world.window() for _ in range(processes)], bursts))
    assert len(moments) == min(quota, sum(requests))


async def test_permits_that_were_kept_too_long_lapse() -> None:
    world = World("200/second")
    window = world.window()
    for _ in range(60):
        world.now += 0.0005
        assert await window.take()
        await world.settled()
    kept = len(world.taken) - 60
    assert kept > 0
    world.now += 0.98
    late = [await window.take() for _ in range(kept)]
    await world.settled()
    world.now += 0.05
    later = [await window.take() for _ in range(210)]
    await world.settled()
    # All within a tenth of a second.
    assert sum(late) + sum(later) <= 200


async def test_requests_that_wait_share_one_fetch() -> None:
    world = World("60/minute")
    window = world.window()
    assert await asyncio.gather(*(window.take() for _ in range(32))) == [True] * 32
    assert world.asked == 1


async def test_a_busy_process_asks_for_lots_and_an_idle_one_for_what_it_needs() -> None:
    world = World("60000/minute")
    window = world.window()
    for _ in range(2000):  # two thousand a second
        world.now += 0.0005
        assert await window.take()
        await world.settled()
    assert world.asked < 100
    assert len(world.taken) < 2000 + 2 * 2000 * life_of(world.rate)
    world.now += 10
    before = len(world.taken)
    for _ in range(5):
        world.now += 1
        assert await window.take()
    await world.settled()
    # What was used before is forgotten with the first look.
    assert len(world.taken) - before <= 5 + 3


async def test_a_lot_is_never_more_than_its_share_of_the_quota() -> None:
    world = World("200/minute")
    window = world.window()
    for number in range(150):
        world.now += 0.0001
        await window.take()
        await world.settled()
        # What is at hand, and the next lot, which is fetched when half of it is used.
        assert len(world.taken) <= number + 1 + 1.5 * 200 / SHARE


async def test_a_process_that_was_refused_asks_again_only_when_there_may_be_more() -> None:
    world = World("2/minute")
    window = world.window()
    assert [await window.take() for _ in range(5)] == [True, True, False, False, False]
    asked = world.asked
    world.now += 59
    assert window.is_closed
    assert not await window.take()
    assert world.asked == asked
    assert (window.remaining, window.opens_in) == (0, 1)
    world.now += 1.5
    assert await window.take()


async def test_what_needs_more_than_is_left_does_not_keep_smaller_ones_out() -> None:
    world = World("10/minute")
    window = world.window()
    assert await asyncio.gather(*(window.take(n) for n in (6, 5, 1, 1, 3, 1))) == [True, False, True, True, False, True]
    assert await window.take()
    assert not await window.take()


async def test_a_request_that_is_given_up_takes_nobody_with_it() -> None:
    world = World("2/minute")
    window = world.window()
    given_up = asyncio.create_task(window.take())
    other = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    given_up.cancel()
    assert await other
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_a_count_that_breaks_fails_no_request() -> None:
    world = World("2/minute")
    world.fails = True
    window = world.window()
    assert await asyncio.gather(*(window.take() for _ in range(5))) == [True] * 5
