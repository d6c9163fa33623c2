"""Values that are kept for a moment: for how long, and who waits for a new one."""

import asyncio

import pytest

from service.fresh import KEEP_SECONDS, LONGEST_KEEP_SECONDS, LONGEST_STALE_SECONDS, Fresh


class Source:
    """Counts what it is asked for; an answer takes `cost` seconds of a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cost = 0.0
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> int:
        self.calls += 1
        self.now += self.cost
        await self.go.wait()
        return self.calls


@pytest.mark.parametrize(
    ("cost", "keep"), [(0.0, KEEP_SECONDS), (0.5, 10.0), (1.5, LONGEST_KEEP_SECONDS), (9.0, LONGEST_KEEP_SECONDS)]
)
async def test_a_value_is_kept_for_twenty_times_its_cost_a_second_at_least_and_thirty_at_most(
    cost: float, keep: float
) -> None:
    source = Source()
    fresh = Fresh(lambda: source.now)
    source.cost = cost
    began = source.now
    assert await fresh.get("a", source) == 1
    source.now = began + keep - 0.01
    assert await fresh.get("a", source) == 1
    source.now = began + keep + 0.01
    assert await fresh.get("a", source) == 2
    await fresh.close()


async def test_while_it_is_renewed_the_old_one_is_given_until_it_is_overdue_for_long() -> None:
    source = Source()
    fresh = Fresh(lambda: source.now)
    assert await fresh.get("a", source) == 1
    source.go.clear()
    source.now += KEEP_SECONDS
    first = asyncio.create_task(fresh.get("a", source))
    await asyncio.sleep(0)
    source.now += LONGEST_STALE_SECONDS - 0.01
    assert await fresh.get("a", source) == 1
    source.now += 0.02
    late = asyncio.create_task(fresh.get("a", source))
    await asyncio.sleep(0)
    assert not late.done()
    source.go.set()
    assert (await first, await late) == (2, 2)
    assert source.calls == 2


async def test_what_was_forgotten_is_computed_anew() -> None:
    source = Source()
    fresh = Fresh(lambda: source.now)
    assert await fresh.get("a", source) == 1
    fresh.forget("a")
    assert await fresh.get("a", source) == 2


async def test_whoever_goes_away_takes_the_value_from_nobody_and_an_error_is_kept_by_nobody() -> None:
    source = Source()
    fresh = Fresh(lambda: source.now)
    source.go.clear()
    impatient, patient = (asyncio.create_task(fresh.get("a", source)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    source.go.set()
    assert await patient == 1

    async def refuse() -> int:
        raise OSError("away")

    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            await fresh.get("b", refuse)
