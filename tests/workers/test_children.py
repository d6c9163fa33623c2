"""Child processes: ended whole, seen to end, never lent to a job that would pay for another."""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import psutil
import pytest

from errander import JobInfo, registry
from service.chaos.ledger import What
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, errors, result
from tests.fixtures.waiting import eventually
from tests.workers.conftest import RunWorker
from workers import children
from workers.children import Child, ChildNotStarted, Children
from workers.outcomes import Succeeded

TASKS = ("tests.faults.tasks", "tests.faults.nasty")


class Port:
    """Takes what a child says."""

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        pass

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        raise LookupError("the worker's own fault")


@pytest.fixture
async def pool(ledger: Ledger) -> AsyncIterator[Children]:
    import tests.faults.nasty
    import tests.faults.tasks  # noqa: F401

    made = Children(TASKS, (), at_once=1)
    yield made
    await made.close()


async def run(child: Child, task: str, payload: str = '{"seconds": 0}') -> Any:
    """Runs one job in it."""
    return await child.run(registry[task], JobInfo("0199", task), payload, Port())


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _beside(ledger: Ledger, job_id: UUID) -> int:
    """The process that a job has started beside its own."""
    return next(line.pid for line in ledger.lines() if line.what is What.TICK and line.job == str(job_id))


async def test_a_job_ends_with_all_that_it_has_started(run_worker: RunWorker, book: JobBook, ledger: Ledger) -> None:
    ways = [("multiprocessing", "wait"), ("fork", "die"), ("apart", "wait"), ("apart", "die")]
    async with run_worker(tasks=TASKS, stuck=60.0) as worker:
        ids = [
            await book.submit(
                "nasty.fork",
                {"how": how, "then": then},
                timeout=4.0 if then == "wait" else 60.0,
                max_attempts=1,
                max_crashes=1,
            )
            for how, then in ways
        ]
        records = await book.final(ids)
        for (how, then), record in zip(ways, records, strict=True):
            kinds = [error["kind"] for error in errors(record)]
            assert (how, then, kinds) == (how, then, ["timeout" if then == "wait" else "crash"])
            pid = _beside(ledger, record.id)
            if how == "apart":  # it has left the group, and holds the child's socket: nobody waits for it
                os.kill(pid, signal.SIGKILL)
            await eventually(functools.partial(_gone, pid), message=f"what {how} has started goes on")
        await book.succeeds(await book.submit("fault.process", {"seconds": 0.0}))
        assert not worker.task.done()


async def test_a_fork_that_comes_back_out_of_the_code_says_nothing(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    async with run_worker(tasks=TASKS):
        job_id = await book.submit("nasty.fork", {"how": "come-back", "then": "return"})
        (record,) = await book.succeeds(job_id)
        (after,) = await book.succeeds(await book.submit("fault.process", {"seconds": 0.0}))
    assert (result(record), record.progress) == ("done", None)
    assert result(after) == ledger.starts(job_id)[0].pid  # the same child, and its answers are in order


async def test_a_child_that_is_being_ended_is_not_lent(pool: Children) -> None:
    child = await pool.acquire(isolated=False)
    waiting = asyncio.create_task(pool.acquire(isolated=False))
    await asyncio.sleep(0)
    assert isinstance(await run(child, "fault.process"), Succeeded)
    child.kill()  # a timeout or a cancel, in the moment in which the answer has come
    pool.release(child, isolated=False)
    another = await waiting
    assert another is not child
    assert isinstance(await run(another, "fault.process"), Succeeded)
    pool.release(another, isolated=False)


async def test_a_child_whose_job_has_not_ended_is_not_lent(pool: Children) -> None:
    child = await pool.acquire(isolated=False)
    with pytest.raises(LookupError):
        await run(child, "nasty.say-in-process", "{}")
    assert not child.fit
    pool.release(child, isolated=False)
    another = await pool.acquire(isolated=False)
    assert another is not child
    pool.release(another, isolated=False)


async def test_a_child_that_is_killed_while_it_is_idle_is_not_lent(pool: Children) -> None:
    child = await pool.acquire(isolated=False)
    pool.release(child, isolated=False)
    os.kill(child._process.pid, signal.SIGKILL)
    await eventually(lambda: not child.fit)
    another = await pool.acquire(isolated=False)
    assert another is not child
    assert child.how_it_ended() == "SIGKILL"
    assert pool._warden._groups == {another._process.pid}  # the other number may be a stranger's by now
    pool.release(another, isolated=False)


async def test_a_job_whose_child_died_before_it_began_pays_nothing(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, lent = Children.acquire, []

    async def dying_at_first(pool: Children, *, isolated: bool) -> Child:
        lent.append(child := await acquire(pool, isolated=isolated))
        if len(lent) == 1:
            os.kill(child._process.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(Children, "acquire", dying_at_first)
    async with run_worker():
        job_id = await book.submit("fault.process", {"seconds": 0.0}, max_crashes=1, max_attempts=1)
        (record,) = await book.succeeds(job_id)
    assert (record.attempt, record.failures, record.crashes) == (2, 0, 0)
    assert await book.events(job_id) == ["given-back"]
    assert len(ledger.starts(job_id)) == 1


async def test_a_child_that_died_before_it_was_given_a_job_says_so(pool: Children) -> None:
    child = await pool.acquire(isolated=True)
    os.kill(child._process.pid, signal.SIGKILL)
    with pytest.raises(ChildNotStarted, match=r"before the job began \(SIGKILL\)"):
        await run(child, "fault.process")
    pool.release(child, isolated=True)


async def test_isolated_jobs_run_two_at_a_time_and_the_time_they_wait_is_not_theirs(
    run_worker: RunWorker, book: JobBook, ledger: Ledger
) -> None:
    assert children.ISOLATED_AT_ONCE == 2
    # so long that the third would be out of time, were its wait for the others counted
    ids = await book.submit_many("fault.sleep", [{"seconds": 2.0}] * 3, timeout=3.5, max_crashes=2, max_attempts=1)
    await book.execute("UPDATE errander.jobs SET crashes = 1")
    async with run_worker(slots=10):
        records = await book.succeeds(*ids)
        assert {record.crashes for record in records} == {1}
    moments = sorted([(line.at, 1) for line in ledger.starts()] + [(line.at, -1) for line in ledger.ends()])
    at_once = [sum(step for _, step in moments[: place + 1]) for place in range(len(moments))]
    assert max(at_once) == 2


async def test_nothing_is_left_of_children_that_were_closed(ledger: Ledger) -> None:
    pool = Children(TASKS, (), at_once=2)
    both = await asyncio.gather(*(pool.acquire(isolated=False) for _ in range(2)))
    warden = next(
        process for process in psutil.Process().children() if any("warden" in word for word in process.cmdline())
    )
    await pool.close()
    assert all(_gone(child._process.pid) for child in both)
    assert not warden.is_running()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(both[0]._process.pid, 0)
        raise AssertionError("its process group is still there")
