"""How many jobs wait: counted seldom, never too low by what this process accepted, and how fast they leave."""

import asyncio

import pytest

from db.errors import Unavailable
from service.limits.backlog import KEEP_SECONDS, Backlog


class World:
    """A clock, and a queue that may be counted."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waiting = {"a": 10}
        self.counts = 0
        self.takes = 0.0
        self.is_away = False
        self.gate: asyncio.Event | None = None
        self.backlog = Backlog(self._count, lambda: self.now)

    async def _count(self) -> dict[str, int]:
        self.counts += 1
        found = dict(self.waiting)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        self.now += self.takes
        if self.is_away:
            raise Unavailable("away")
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_accepted_is_added_to_the_last_count(world: World) -> None:
    assert await world.backlog.waiting("a") == 10
    with world.backlog.taking("a", 3):
        assert await world.backlog.waiting("a") == 13
    with world.backlog.taking("a", 5) as taking:
        taking.made = 1
    assert await world.backlog.waiting("a") == 14
    assert await world.backlog.waiting("b") == 0
    assert world.counts == 1


async def test_what_failed_is_not_added(world: World) -> None:
    await world.backlog.waiting("a")
    with pytest.raises(ValueError, match="no"), world.backlog.taking("a", 3):
        raise ValueError("no")
    assert await world.backlog.waiting("a") == 10


async def test_a_count_is_kept_for_a_second_and_then_renewed_behind_who_asks(world: World) -> None:
    await world.backlog.waiting("a")
    world.waiting = {"a": 4}
    world.now += KEEP_SECONDS - 0.01
    assert await world.backlog.waiting("a", newest=True) == 10
    world.now += 0.02
    assert await world.backlog.waiting("a") == 10
    assert await world.backlog.waiting("a", newest=True) == 4
    assert world.counts == 2


async def test_an_expensive_count_is_kept_for_twenty_times_what_it_took(world: World) -> None:
    world.takes = 0.5
    await world.backlog.waiting("a")
    assert world.backlog.fresh_in == pytest.approx(9.5)


async def test_what_is_accepted_while_it_is_counted_is_not_lost(world: World) -> None:
    await world.backlog.waiting("a")
    with world.backlog.taking("a", 2):
        pass
    world.now += 2
    world.waiting = {"a": 12}
    world.gate = asyncio.Event()
    with world.backlog.taking("a", 1):
        renewing = asyncio.create_task(world.backlog.waiting("a", newest=True))
        await asyncio.sleep(0)
        assert await world.backlog.waiting("a") == 13
        world.gate.set()
        # Twelve were counted, and one is on its way: it may have been counted too, but is never left out.
        assert await renewing == 13
    assert await world.backlog.waiting("a") == 13


async def test_the_drain_is_what_left_between_two_counts(world: World) -> None:
    await world.backlog.waiting("a")
    assert world.backlog.drain_of("a") == 0
    with world.backlog.taking("a", 20):
        pass
    world.now += 2
    world.waiting = {"a": 24}  # of thirty
    await world.backlog.waiting("a", newest=True)
    assert world.backlog.drain_of("a") == pytest.approx(3.0)
    world.now += 5
    await world.backlog.waiting("a", newest=True)
    assert world.backlog.drain_of("a") == pytest.approx(1.5)


async def test_where_it_cannot_be_counted_the_last_count_stands(world: World) -> None:
    world.is_away = True
    assert await world.backlog.waiting("a") == 0
    world.is_away = False
    world.now += 2
    assert await world.backlog.waiting("a", newest=True) == 10
    world.is_away = True
    with world.backlog.taking("a", 1):
        pass
    world.now += 2
    assert await world.backlog.waiting("a", newest=True) == 11
    world.is_away = False
    world.waiting = {"a": 11}
    world.now += 2
    assert await world.backlog.waiting("a", newest=True) == 11


async def test_whoever_gives_up_takes_the_count_from_nobody(world: World) -> None:
    world.gate = asyncio.Event()
    given_up = asyncio.create_task(world.backlog.waiting("a"))
    other = asyncio.create_task(world.backlog.waiting("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    world.gate.set()
    assert await other == 10
    assert world.counts == 1
    with pytest.raises(asyncio.CancelledError):
        await given_up
