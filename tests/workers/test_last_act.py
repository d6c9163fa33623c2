"""The last words of a process whose code cannot be stopped: said in time, or left to the reaper."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from db import attempts, workers
from db.engine import Database
from db.errors import Unavailable
from db.lifecycle import JobStatus
from db.workers import WorkerRow
from tests.fixtures.jobs import JobBook
from workers import ending
from workers.attempt import Attempt
from workers.held import Held
from workers.outcomes import Succeeded

TASK = "fault.quick"


class Scene:
    """A worker that holds jobs of which some have begun."""

    def __init__(self, book: JobBook) -> None:
        self.book = book
        self.link = book.database.link
        self.worker = uuid4()
        self.held = Held()
        self.resigned_at: float | None = None

    async def claim(self, *, begun: int, waiting: int = 0) -> list[UUID]:
        """So many jobs whose code runs, and so many whose code has not begun."""
        row = WorkerRow(self.worker, "default", ["default"], {TASK: "-"}, "here", 1, "0", 9)
        await workers.join(self.link, row)
        ids = await self.book.submit_many(TASK, [{}] * (begun + waiting))
        won = await attempts.claim_by_id(self.link, ids, worker=self.worker, lease=30, pool="default", tasks=[TASK])
        by_id = {job.id: Attempt(job, cast("Any", None)) for job in won}
        self.held.end_claim(self.held.begin_claim(), [by_id[job_id] for job_id in ids])
        for job_id in ids[:begun]:
            by_id[job_id].begun_at = time.monotonic()
        return ids

    async def resign(self) -> None:
        """Leads no more."""
        self.resigned_at = time.monotonic()

    def since_it_resigned(self) -> float:
        """Seconds: from then on it has no more than the jobs that it gives back have."""
        assert self.resigned_at is not None
        return time.monotonic() - self.resigned_at

    async def last_act(self) -> None:
        """Says it."""
        await ending.last_act(self.link, self.worker, self.held, [], self.resign)


@pytest.fixture
def scene(book: JobBook) -> Scene:
    return Scene(book)


async def test_it_is_over_before_what_it_gave_back_may_start_though_another_row_is_locked(
    scene: Scene, database: Database
) -> None:
    given_back, locked, not_begun = await scene.claim(begun=2, waiting=1)
    async with database.begin() as other:
        await other.fetch("lock_jobs", ids=[locked], tenant="default")
        await scene.last_act()
        over = datetime.now(UTC)
        took = scene.since_it_resigned()
    assert 1.0 < took < ending.AHEAD_SECONDS, "tried for as long as that is safe, and no longer"
    assert (await scene.book.get(given_back)).run_at > over, "it may start, and its code still runs here"
    assert await scene.book.counts([given_back, not_begun]) == {"PENDING": 2}
    assert (await scene.book.get(locked)).status == JobStatus.RUNNING
    assert await scene.book.workers() != [], "the lease stands until it runs out: the reaper takes what is left"


async def test_what_has_not_begun_is_tried_for_longer_than_what_runs(scene: Scene, database: Database) -> None:
    (job_id,) = await scene.claim(begun=0, waiting=1)
    async with database.begin() as other:
        await other.fetch("lock_jobs", ids=[job_id], tenant="default")
        act = asyncio.create_task(scene.last_act())
        await asyncio.wait({act}, timeout=ending.AHEAD_SECONDS + 0.5)
        assert not act.done()
    await act
    assert (await scene.book.get(job_id)).status == JobStatus.PENDING
    assert await scene.book.workers() == []


async def test_what_runs_goes_back_though_what_has_ended_stays_locked(
    scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "HASTE_SECONDS", 0.2)
    runs, ended = await scene.claim(begun=1, waiting=1)
    scene.held.snapshot()[ended].attempt.outcome = Succeeded("null")
    async with database.begin() as other:
        await other.fetch("lock_jobs", ids=[ended], tenant="default")
        await scene.last_act()
    assert (await scene.book.get(runs)).status == JobStatus.PENDING
    assert (await scene.book.get(ended)).status == JobStatus.RUNNING


async def test_it_resigns_before_the_last_write_and_waits_little_for_that(scene: Scene) -> None:
    (job_id,) = await scene.claim(begun=1)

    async def never() -> None:
        scene.resigned_at = time.monotonic()
        assert (await scene.book.get(job_id)).status == JobStatus.RUNNING
        await asyncio.Event().wait()

    await ending.last_act(scene.link, scene.worker, scene.held, [], never)
    assert scene.since_it_resigned() < ending.AHEAD_SECONDS
    assert (await scene.book.get(job_id)).status == JobStatus.PENDING
    assert await scene.book.workers() == []


async def test_a_statement_about_what_has_ended_that_hangs_holds_up_what_runs_no_longer_than_its_turn(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "HASTE_SECONDS", 0.2)
    runs, ended = await scene.claim(begun=1, waiting=1)
    scene.held.snapshot()[ended].attempt.outcome = Succeeded("null")
    succeed = attempts.succeed
    tries: list[str] = []

    async def hangs_once(*given: Any, **named: Any) -> Any:
        tries.append("succeed")
        if len(tries) == 1:
            await asyncio.sleep(8)  # as long as a driver waits for an answer
        return await succeed(*given, **named)

    monkeypatch.setattr(attempts, "succeed", hangs_once)
    async with asyncio.timeout(6):
        await scene.last_act()
    assert await scene.book.counts([runs, ended]) == {"PENDING": 1, "SUCCESS": 1}
    assert len(tries) == 2


async def test_postgresql_that_comes_back_in_time_still_hears_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "HASTE_SECONDS", 10.0)
    (job_id,) = await scene.claim(begun=1)
    real = workers.roll_call
    away = time.monotonic() + ending.AHEAD_SECONDS

    async def roll_call(*given: Any) -> Any:
        if time.monotonic() < away:
            raise Unavailable("connection refused")
        return await real(*given)

    monkeypatch.setattr(workers, "roll_call", roll_call)
    await scene.last_act()
    assert time.monotonic() > away
    record = await scene.book.get(job_id)
    assert (record.status, record.crashes) == (JobStatus.PENDING, 0)


async def test_postgresql_that_stops_answering_in_the_last_write_holds_nobody_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frozen(*_: object, **__: object) -> list[Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0.5)  # as a driver does that asks the server to cancel
        return []

    await scene.claim(begun=1)
    monkeypatch.setattr(attempts, "give_back", frozen)
    await scene.last_act()
    assert scene.since_it_resigned() < ending.AHEAD_SECONDS
    (left,) = [task for task in asyncio.all_tasks() if task.get_name() == "errander.ending"]
    await left
