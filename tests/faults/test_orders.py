"""Cancel, finish, retry and rescue of one running job, in every order and all at once: one wins, by the rules."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from db import attempts, workers
from db.lifecycle import JobStatus
from db.workers import WorkerRow
from tests.faults.apis import serving
from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import Fleet
from tests.fixtures.jobs import SOON, JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

TASKS = ["fault.quick"]
STEPS = ("cancel", "finish", "retry", "rescue")
ROUNDS = 25


class Running:
    """One job that a worker holds, and what may happen to it."""

    def __init__(self, book: JobBook, worker: UUID, job_id: UUID) -> None:
        self.book = book
        self.link = book.database.link
        self.worker = worker
        self.id = job_id

    @classmethod
    async def of(cls, book: JobBook) -> "Running":
        """A new one, under a worker of its own."""
        worker = uuid4()
        row = WorkerRow(worker, "default", ["default"], {"fault.quick": "-"}, "here", 1, "0", 1)
        await workers.join(book.database.link, row)
        job_id = await book.submit("fault.quick", backoff=SOON)
        (claimed,) = await attempts.claim_by_id(
            book.database.link, [job_id], worker=worker, lease=30, pool="default", tasks=TASKS
        )
        assert claimed.attempt == 1
        return cls(book, worker, job_id)

    async def step(self, name: str) -> object:
        """One of `STEPS`; what it says of the job, nothing where it came too late."""
        steps: dict[str, Callable[[], Awaitable[object]]] = {
            "cancel": lambda: self.book.cancel(self.id),
            "finish": self._finish,
            "retry": self._retry,
            "rescue": self._rescue,
        }
        return await steps[name]()

    async def _finish(self) -> list[attempts.Moved]:
        return await attempts.succeed(self.link, worker=self.worker, ids=[self.id], attempts=[1], results=["1"])

    async def _retry(self) -> list[attempts.Moved]:
        error = '{"kind": "error", "type": "E", "message": "", "traceback": ""}'
        return await attempts.fail(
            self.link, worker=self.worker, ids=[self.id], attempts=[1], errors=[error], delays=[60.0], finals=[False]
        )

    async def _rescue(self) -> list[workers.Rescued]:
        silent = [beat for beat in await workers.beats(self.link) if beat.worker == self.worker]
        rescued = await workers.rescue(self.link, silent, n=100)
        return [job for job in rescued if job.moved.id == self.id]


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids="-".join)
async def test_in_every_order_a_finish_beats_a_cancel_and_a_cancel_beats_what_would_run_it_again(
    book: JobBook, order: tuple[str, ...]
) -> None:
    job = await Running.of(book)
    said = {name: await job.step(name) for name in order}
    first = next(name for name in order if name != "cancel")  # the only one that finds it RUNNING
    assert {name for name in ("finish", "retry", "rescue") if said[name]} == {first}
    record = await book.get(job.id)
    assert record.status == (JobStatus.SUCCESS if first == "finish" else JobStatus.CANCELLED)
    assert (record.attempt, record.failures, record.crashes) == (1, first == "retry", first == "rescue")
    assert record.finished_at is not None


async def test_all_at_once_exactly_one_wins_and_what_was_cancelled_never_succeeds(book: JobBook) -> None:
    for _ in range(ROUNDS):
        job = await Running.of(book)
        won = await _winners(job, STEPS)
        while not won:  # the cancel held the row, and the others skipped it: they come round again
            won = await _winners(job, ("finish", "retry", "rescue"))
        assert len(won) == 1
        record = await book.get(job.id)
        assert record.status == (JobStatus.SUCCESS if won == {"finish"} else JobStatus.CANCELLED)
        assert await book.execute("SELECT count(*) FROM errander.ready WHERE id = $1", job.id) == 0
        assert await book.execute("SELECT count(*) FROM errander.running WHERE id = $1", job.id) == 0


async def _winners(job: Running, steps: Sequence[str]) -> set[str]:
    said = await asyncio.gather(*(job.step(name) for name in steps))
    return {name for name, one in zip(steps, said, strict=True) if name != "cancel" and one}


async def test_a_cancel_that_comes_when_the_code_has_ended_is_told_that_the_job_still_runs_and_the_finish_wins(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    failpoints.now()
    await fleet.ready(**failpoints.settings("flush.sending:wait"))
    async with serving(fleet, {}) as (api,):
        job_id = await book.submit("fault.quick", {"n": 7})
        await failpoints.until("flush.sending")
        answer = await api.client.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, JobStatus.RUNNING)
        assert answer.json()["cancel_requested_at"] is not None
        failpoints.go_on.touch()
        (record,) = await book.succeeds(job_id)
        refused = await api.client.post(f"/v1/jobs/{job_id}/cancel")
        assert (refused.status_code, refused.json()["code"]) == (409, "job-already-final")
    assert record.status == JobStatus.SUCCESS
    await eventually(lambda: len(ledger.ends(job_id)) == 1)
