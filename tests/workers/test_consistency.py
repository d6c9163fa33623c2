"""The leader's look for broken rules: what it keeps, and that it takes place."""

from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from db.consistency import Limits
from db.consistency_kept import Kept, kept
from db.engine import Database
from service.checks.consistency import Check
from service.checks.consistency_hints import HintLimits
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker
from workers.hints import Hint, Hints
from workers.loops.consistency import Consistency, WhileLeading


async def test_a_look_is_kept_in_the_place_of_the_one_before(book: JobBook, database: Database) -> None:
    worker = uuid4()
    loop = Consistency(database, worker, Limits(pause=0.0))
    assert await kept(database.link) is None
    assert await loop.run_once() == 0
    first = await kept(database.link)
    assert first is not None
    assert (first.clean, first.counts, first.worker) == (True, {}, worker)

    job = await book.submit("fault.quick")
    await book.execute("DELETE FROM errander.ready WHERE id = $1", job)
    await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('a'), ('b')")
    assert await loop.run_once() == 3
    second = await kept(database.link)
    assert second is not None
    assert (second.clean, second.counts) == (False, {"pause-unknown": 2, "ready-missing": 1})
    assert second.checked_at > first.checked_at
    assert await book.execute("SELECT count(*) FROM errander.consistency") == 1


async def test_a_warning_leaves_it_clean(book: JobBook, database: Database) -> None:
    await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('a')")
    await Consistency(database, uuid4(), Limits(pause=0.0)).run_once()
    found = await kept(database.link)
    assert found is not None
    assert (found.clean, found.counts) == (True, {"pause-unknown": 1})


async def test_a_leader_looks_while_it_works_and_finds_nothing(
    run_worker: RunWorker, book: JobBook, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.loops.consistency.FIRST_SECONDS", 0.0)
    async with run_worker() as running:
        ids = await book.submit_many("fault.quick", [{}] * 50)
        await book.succeeds(*ids)

        async def looked() -> Kept | None:
            return await kept(database.link)

        found = await eventually(looked)
        assert (found.clean, found.counts, found.worker) == (True, {}, running.process.id)


class Looking(Consistency):
    """Counts its looks."""

    looks = 0

    async def run_once(self) -> int:
        self.looks += 1
        return 0


class Leads:
    """As much of a leader as is asked."""

    leads = True


async def test_a_leader_that_steps_aside_for_a_moment_does_not_put_off_the_look() -> None:
    leader, loop = Leads(), Looking(cast("Any", None), uuid4(), Limits())
    beside = WhileLeading(cast("Any", leader), loop)
    assert not await beside.run_once()
    assert not loop.due(), "a new leader rescues first"
    leader.leads = False
    assert not await beside.run_once()
    loop.hurry()
    leader.leads = True
    assert await beside.run_once()
    assert loop.looks == 1


async def test_while_workers_drain_neither_store_shows_a_finding(
    run_worker: RunWorker, book: JobBook, database_url: str, redis_url: str, hints: Hints
) -> None:
    checks = 0
    async with run_worker(), run_worker(), await Database.open(database_url, size=2) as own:
        check = Check(own, redis_url, Limits(lease=6.0, pause=0.5), HintLimits())
        ids: list[UUID] = []
        for _ in range(10):
            accepted = await book.accept("fault.quick", [{}] * 100)
            ids += [job.id for job in accepted]
            await hints.publish([Hint(job.id, "default", "default", job.due_in) for job in accepted])
            report = await check.run(full=bool(checks % 2))
            assert report.found == {}
            assert "hint-stale" in report.checked
            checks += 1
        await book.succeeds(*ids)
        assert (await check.run(full=True)).found == {}
