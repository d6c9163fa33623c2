"""The control thread: what ends it, and what becomes of its process then."""

import asyncio
import socket

import pytest

from db import attempts, workers
from db.engine import Database
from db.errors import Unavailable
from db.lifecycle import JobStatus
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from tests.workers.conftest import Running, RunWorker
from workers.control import ControlEnded
from workers.departure import Why
from workers.process import WorkerProcess
from workers.settings import WorkerSettings


def _cancel(worker: Running, name: str) -> None:
    """Ends a task of the control thread, as an error that nobody has thought of would."""
    loop = worker.process.control._loop
    assert loop is not None

    def cancel() -> None:
        for task in asyncio.all_tasks(loop):
            if task.get_name() == f"errander.control.{name}":
                task.cancel()

    loop.call_soon_threadsafe(cancel)


@pytest.mark.parametrize("name", ["beat", "watch", "roll_call", "silence", "leader", "consistency"])
async def test_a_process_one_of_whose_control_tasks_has_ended_gives_its_jobs_back_and_runs_again(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, name: str
) -> None:
    async with run_worker() as worker:
        job_id = await book.submit("fault.sleep", {"seconds": 60})
        await eventually(lambda: ledger.starts(job_id))
        _cancel(worker, name)
        assert await worker.ended() is True
    record = await book.get(job_id)
    assert (record.status, record.crashes, record.failures) == (JobStatus.PENDING, 0, 0)
    assert f"errander.control.{name} has ended" in str(worker.process.control.error)
    assert await book.workers() == []


async def test_a_process_that_cannot_listen_where_it_was_told_says_so_and_fails(
    database_url: str, redis_url: str, database: Database
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = WorkerSettings(
        database_url=database_url,
        redis_url=redis_url,
        metrics_host="192.0.2.1",
        metrics_port=port,
    )
    with pytest.raises(ControlEnded, match=r"ERRANDER_METRICS_HOST: 192\.0\.2\.1 is no address that this machine"):
        await WorkerProcess(settings).run()
    assert await workers.list_workers(database.link) == []


async def test_what_a_claim_won_whose_answer_was_lost_goes_back_long_before_the_next_beats(
    run_worker: RunWorker, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = attempts.claim_by_head
    lost: list[attempts.Head] = []

    async def claim_by_head(*given: object, **options: object) -> attempts.Head:
        head = await real(*given, **options)  # type: ignore[arg-type]
        if head.jobs and not lost:
            lost.append(head)
            raise Unavailable("the answer was cut")
        return head

    async with run_worker(heartbeat=30.0, lease=120.0) as worker:
        await worker.idle()
        monkeypatch.setattr(attempts, "claim_by_head", claim_by_head)
        job_id = await book.submit("fault.quick")
        await book.succeeds(job_id, timeout=15.0)
        worker.process.departure.begin(Why.DRAIN)  # as a signal would: a request is read with the next beat
    assert [job.id for head in lost for job in head.jobs] == [job_id]
    assert await book.events(job_id) == ["given-back"]
