"""Whatever code of a task's raises, wherever: the attempt is recorded, a budget pays, the slot is free again."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
import structlog

from db.lifecycle import JobStatus
from tests.faults import nasty
from tests.fixtures.jobs import JobBook, errors, result
from tests.fixtures.waiting import eventually
from tests.workers.conftest import Running, RunWorker
from workers import attempt as attempt_module
from workers import running
from workers.attempt import Attempt
from workers.children import Children

TASKS = ("tests.faults.tasks", "tests.faults.nasty")
WHERE = ["", "-in-thread", "-in-process"]


async def _submitted(book: JobBook, task: str, payloads: Sequence[Mapping[str, Any]], **options: Any) -> list[UUID]:
    return await book.submit_many(task, payloads, max_attempts=1, **options)


async def _is_well(worker: Running, book: JobBook) -> None:
    """The process lives, and nothing of it is taken any more."""
    assert not worker.task.done()
    await book.succeeds(await book.submit("fault.quick"), await book.submit("fault.thread", {"seconds": 0.0}))
    await book.succeeds(await book.submit("fault.process", {"seconds": 0.0}))
    process = worker.process
    assert not process.room.running
    assert process.thread_slots._value == process.settings.threads


REFUSING = {"retry-refused", "refuse"}
"""What pydantic takes for a refusal: a ValueError of a validator."""


@pytest.mark.parametrize("where", WHERE)
async def test_whatever_a_task_raises_is_charged_once_and_harms_nobody(
    run_worker: RunWorker, book: JobBook, where: str
) -> None:
    check = [*nasty.RAISED, "refuse"]
    async with run_worker(tasks=TASKS, slots=8) as worker:
        raising = await _submitted(book, f"nasty.raise{where}", [{"how": how} for how in nasty.RAISED])
        returning = await _submitted(book, f"nasty.return{where}", [{"how": how} for how in nasty.RETURNED])
        checking = await _submitted(book, f"nasty.check{where}", [{"payload": {"how": how}} for how in check])
        found = {record.id: record for record in await book.final([*raising, *returning, *checking])}
        await _is_well(worker, book)
    expected = [
        *((job_id, how, "error") for job_id, how in zip(raising, nasty.RAISED, strict=True)),
        *((job_id, how, "result") for job_id, how in zip(returning, nasty.RETURNED, strict=True)),
        *(
            (job_id, how, "payload" if how in REFUSING else "error")
            for job_id, how in zip(checking, check, strict=True)
        ),
    ]
    for job_id, how, kind in expected:
        record = found[job_id]
        assert (how, record.status, errors(record)[0]["kind"]) == (how, JobStatus.FAILED, kind)
        assert (how, record.attempt, record.failures, record.crashes) == (how, 1, 1, 0)
        assert (how, await book.events(job_id)) == (how, ["failed"])


async def test_a_reason_that_is_no_text_ends_a_job_as_it_asks_to(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker(tasks=TASKS):
        ids = [await book.submit(f"nasty.raise{where}", {"how": how}) for where in WHERE for how in nasty.FINAL]
        records = await book.final(ids)
    for number in range(len(WHERE)):
        cancelled, wordless, failed, silent = records[number * 4 : number * 4 + 4]
        assert (cancelled.status, cancelled.cancelled_by, cancelled.cancel_reason) == ("CANCELLED", "task", "'x'")
        assert (wordless.status, wordless.cancel_reason) == ("CANCELLED", "<its message could not be made>")
        assert (failed.status, failed.attempt, errors(failed)[0]["message"]) == ("FAILED", 1, "'x'")
        assert (silent.status, silent.attempt) == ("FAILED", 1)


async def test_a_validator_that_raises_is_tried_again_as_often_as_code_that_does(
    run_worker: RunWorker, book: JobBook
) -> None:
    backoff = '{"kind": "fixed", "base": 0.01, "jitter": 0}'
    async with run_worker(tasks=TASKS):
        ids = await book.submit_many(
            "nasty.check", [{"payload": {"how": "memory"}}] * 2, max_attempts=3, backoff=backoff
        )
        records = await book.final(ids)
    assert [(record.attempt, record.failures) for record in records] == [(3, 3)] * 2


async def test_an_isolated_job_is_read_and_run_in_its_own_process_only(run_worker: RunWorker, book: JobBook) -> None:
    check = [{"payload": {"how": how}} for how in ("exit", "refuse", "die")]
    ids = await _submitted(book, "nasty.raise", [{"how": "leaving"}], max_crashes=2)
    ids += await _submitted(book, "nasty.check", check, max_crashes=2)
    await book.execute("UPDATE errander.jobs SET crashes = 1")
    async with run_worker(tasks=TASKS, slots=8) as worker:
        records = await book.final(ids)
        await book.succeeds(await book.submit("fault.quick"))
        assert not worker.task.done()  # a payload that ends the process that reads it has not ended this one
    assert {record.status for record in records} == {JobStatus.FAILED}
    assert [errors(record)[-1]["kind"] for record in records] == ["error", "error", "payload", "crash"]
    assert "exit status 4" in errors(records[-1])[-1]["message"]


async def test_what_cannot_be_said_of_progress_and_to_the_log_costs_nothing(
    run_worker: RunWorker, book: JobBook
) -> None:
    async with run_worker(tasks=TASKS) as worker:
        ids = [await book.submit(f"nasty.say{where}") for where in WHERE]
        records = await book.succeeds(*ids)
        await _is_well(worker, book)
    assert [result(record) for record in records] == ["said"] * 3
    assert [(record.failures, record.crashes) for record in records] == [(0, 0)] * 3
    assert all('"message": "said"' in (record.progress or "") for record in records)


async def test_a_fault_of_the_worker_itself_is_free_before_code_began_and_is_not_repeated_after(
    run_worker: RunWorker, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_self: Children, *, isolated: bool) -> None:
        raise nasty.Leaving if isolated else nasty.Wordless

    monkeypatch.setattr(Children, "acquire", refused)
    plain = logging.getLogger("errander.attempt")
    into_records = structlog.stdlib.ProcessorFormatter.wrap_for_formatter  # as a worker's log is set up
    monkeypatch.setattr(attempt_module, "_log", structlog.wrap_logger(plain, [into_records]))
    running_code: list[asyncio.Task[None]] = []
    start = Attempt.start

    def started(attempt: Attempt) -> None:
        start(attempt)
        assert attempt._aio_task is not None
        running_code.append(attempt._aio_task)

    monkeypatch.setattr(Attempt, "start", started)
    async with run_worker(tasks=TASKS) as worker:
        before = await book.submit("fault.process", {"seconds": 0.0}, max_attempts=1)
        worker.process.threads.shutdown()  # code in threads cannot be started any more
        after = await book.submit("fault.thread", {"seconds": 0.0}, max_attempts=1)
        (charged,) = await book.final([after])
        await eventually(lambda: _given_back_twice(book, before))
        free = await book.get(before)
    assert (charged.status, charged.failures) == (JobStatus.FAILED, 1)
    assert (free.status, free.attempt, free.failures, free.crashes) == (JobStatus.PENDING, 2, 0, 0)
    waits = "SELECT extract(epoch FROM run_at - (SELECT max(at) FROM errander.history WHERE job_id = $1))::float8"
    # twice as long as after the first time
    assert await book.execute(f"{waits} FROM errander.jobs WHERE id = $1", before) == pytest.approx(2.0, abs=0.01)
    assert [task.exception() for task in running_code] == [None] * 3


async def _given_back_twice(book: JobBook, job_id: UUID) -> bool:
    return await book.events(job_id) == ["given-back"] * 2


def test_code_that_leaves_beside_its_job_does_not_end_the_process() -> None:
    async def job() -> str:
        try:
            await nasty.exit_beside()
        except SystemExit as error:
            return f"its own error: {error.code}"
        return "not told"

    async def main() -> list[str]:
        neighbour = asyncio.create_task(asyncio.sleep(0.05, "in peace"))
        asyncio.get_running_loop().call_soon(_interrupted)
        return [await job(), await neighbour]

    def _interrupted() -> None:
        raise SystemExit("out of a callback")

    assert running.run(main()) == ["its own error: 3", "in peace"]


def test_somebody_who_leaves_in_the_turn_in_which_the_run_ends_does_not_take_its_result() -> None:
    stopped: list[str] = []
    beside: list[asyncio.Task[None]] = []

    async def neighbour() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            stopped.append("in peace")

    async def main() -> str:
        beside.append(asyncio.create_task(neighbour()))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(_interrupted)
        return "its result"

    def _interrupted() -> None:
        raise SystemExit("out of a callback")

    assert running.run(main()) == "its result"
    assert stopped == ["in peace"], "what was left could not end"


def test_what_the_main_coroutine_raises_itself_ends_the_run() -> None:
    async def main() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        running.run(main())
    assert caught.value.code == 7
