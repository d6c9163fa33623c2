"""Leadership: a term in a row; two leaders at once are harmless."""

import time
from uuid import uuid4

import pytest

from db import leader as leaders
from db.engine import Database, Link
from db.errors import Unavailable
from tests.fixtures.jobs import JobBook
from workers.loops.base import Loop
from workers.loops.leader import Leader


class Counting(Loop):
    """Counts its steps."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(0.0)
        self.steps = 0

    async def run_once(self) -> int:
        self.steps += 1
        return 0


class Failing(Loop):
    """A loop that cannot do its work, for as long as `error` stands."""

    name = "failing"

    def __init__(self, error: Exception | None) -> None:
        super().__init__(0.0)
        self.error = error
        self.tries = 0

    async def run_once(self) -> int:
        self.tries += 1
        if self.error is not None:
            raise self.error
        return 0


def _leader(link: Link, *, term: float = 10.0) -> tuple[Leader, Counting]:
    loop = Counting()
    return Leader(link, uuid4(), [loop], term=term), loop


async def test_one_of_two_leads_and_the_other_takes_over_when_it_resigns(database: Database) -> None:
    (first, works), (second, waits) = _leader(database.link), _leader(database.link)
    for leader in (first, second, first, second):
        await leader.run_once()
    assert (first.leads, second.leads) == (True, False)
    assert (works.steps, waits.steps) == (2, 0)
    await first.resign()
    await second.run_once()
    assert (first.leads, second.leads, waits.steps) == (False, True, 1)


async def test_a_leader_that_stops_renewing_is_superseded(database: Database) -> None:
    (first, _), (second, _) = _leader(database.link), _leader(database.link)
    await first.run_once()
    assert first.leads
    # its term passes: by the database's clock, and by its own
    await database.link.executor.execute("UPDATE errander.leaders SET until = clock_timestamp() - interval '1 s'")
    first._over_at = 0.0
    await second.run_once()
    await first.run_once()
    assert (first.leads, second.leads) == (False, True)


async def test_a_resignation_of_somebody_who_does_not_lead_changes_nothing(database: Database, book: JobBook) -> None:
    (first, _), (second, _) = _leader(database.link), _leader(database.link)
    await first.run_once()
    before = await book.leader()
    await second.run_once()
    await second.resign()
    assert await book.leader() == before is not None


async def test_a_loop_runs_when_its_time_has_come_and_not_before() -> None:
    loop = Counting()
    loop.interval = 3600
    await loop.tick()
    await loop.tick()
    assert loop.steps == 1
    loop.hurry()
    await loop.tick()
    assert loop.steps == 2


@pytest.mark.parametrize("error", [Unavailable("permission denied for table running"), KeyError("a bad build")])
async def test_a_leader_whose_loop_always_fails_makes_way_for_one_that_can(
    database: Database, error: Exception
) -> None:
    loop = Failing(error)
    broken = Leader(database.link, uuid4(), [loop], term=60.0)
    able, works = _leader(database.link, term=60.0)
    for _ in range(6):
        await broken.run_once()
        await able.run_once()
    assert (broken.leads, able.leads) == (False, True)
    assert (loop.tries, works.steps) == (3, 4), "a rival need not wait for the end of the term"


async def test_a_leader_that_nobody_follows_is_back_after_three_steps_and_its_other_loops_with_it(
    database: Database,
) -> None:
    works, loop = Counting(), Failing(KeyError("x"))
    alone = Leader(database.link, uuid4(), [works, loop], term=3600.0)
    for _ in range(3):
        await alone.run_once()
    assert (alone.leads, works.steps, loop.tries) == (False, 3, 3)
    assert time.monotonic() < alone._aside_until <= time.monotonic() + 3 * alone.pause
    await alone.run_once()
    assert (alone.leads, works.steps, loop.tries) == (False, 3, 3)
    alone._aside_until = time.monotonic()  # that time passes
    await alone.run_once()
    assert (alone.leads, works.steps, loop.tries) == (True, 4, 4)


async def test_only_a_step_that_asks_for_the_term_says_that_it_asked(database: Database) -> None:
    leader, works = _leader(database.link, term=3600.0)
    assert [await leader.run_once() for _ in range(3)] == [True, False, False]
    assert works.steps == 3


async def test_failures_now_and_then_cost_no_term(database: Database) -> None:
    loop = Failing(None)
    leader = Leader(database.link, uuid4(), [loop], term=60.0)
    for number in range(12):
        loop.error = Unavailable("a lock") if number % 3 else None
        await leader.run_once()
        assert leader.leads


async def test_a_term_is_renewed_only_after_a_completed_step(database: Database, book: JobBook) -> None:
    async def ends() -> object:
        return await database.link.executor.fetchval("SELECT until FROM errander.leaders")

    loop = Failing(None)
    leader = Leader(database.link, uuid4(), [loop], term=60.0)
    await leader.run_once()
    first = await ends()
    loop.error = Unavailable("a lock")
    leader._renew_at = 0.0  # a quarter of the term passes: a renewal is due
    await leader.run_once()
    assert await ends() == first
    loop.error = None
    await leader.run_once()
    assert await ends() != first
    assert await book.leader() is not None


async def test_nobody_steps_aside_while_postgresql_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("connection refused")

    loop = Failing(Unavailable("connection refused"))
    leader = Leader(database.link, uuid4(), [loop], term=60.0)
    with monkeypatch.context() as patched:
        await leader.run_once()
        patched.setattr(leaders, "lead", away)
        patched.setattr(leaders, "resign", away)
        await leader.run_once()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await leader.run_once()
    loop.error = None
    await leader.run_once()
    assert leader.leads


async def test_a_dead_leaders_term_is_taken_at_once_after_the_databases_clock_was_set_back(database: Database) -> None:
    (dead, _), (next_one, works) = _leader(database.link), _leader(database.link)
    await dead.run_once()
    await next_one.run_once()
    assert not next_one.leads
    await database.link.executor.execute("UPDATE errander.leaders SET until = until + interval '10 min'")
    await next_one.run_once()
    assert (next_one.leads, works.steps) == (True, 1)
