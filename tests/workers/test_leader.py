"""Leadership: a term in a row; two leaders at once are harmless."""

from uuid import uuid4

from db.engine import Database, Link
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
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


def _leader(link: Link, *, term: float = 10.0) -> tuple[Leader, Counting]:
    loop = Counting()
    return Leader(link, uuid4(), [loop], term=term), loop


async def test_one_of_two_leads_and_the_other_takes_over_when_it_resigns(database: Database) -> None:
    (first, works), (second, waits) = _leader(database.link), _leader(database.link)
    for leader in (first, second, first, second):
        await leader.step()
    assert (first.leads, second.leads) == (True, False)
    assert (works.steps, waits.steps) == (2, 0)
    await first.resign()
    await second.step()
    assert (first.leads, second.leads, waits.steps) == (False, True, 1)


async def test_a_leader_that_stops_renewing_is_superseded(database: Database) -> None:
    (first, _), (second, _) = _leader(database.link, term=0.4), _leader(database.link, term=0.4)
    await first.step()

    async def taken_over() -> bool:
        await second.step()
        return second.leads

    await eventually(taken_over)
    await first.step()
    assert not first.leads


async def test_a_resignation_of_somebody_who_does_not_lead_changes_nothing(database: Database, book: JobBook) -> None:
    (first, _), (second, _) = _leader(database.link), _leader(database.link)
    await first.step()
    before = await book.leader()
    await second.step()
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
