"""Code that cannot be stopped, and code that holds up the event loop: only the stuck job pays."""

import signal

import httpx
import pytest

from db.lifecycle import JobStatus
from service.supervise import free_port
from tests.faults.ledger import Ledger
from tests.faults.processes import ARQ, ERRANDER, LEASE, SILENCE, Fleet
from tests.fixtures.jobs import JobBook, errors
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults

FOR_EVER = 3600.0


async def test_a_thread_that_never_returns_fails_alone_and_the_process_comes_back(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    # under arq's own command, which is started again just as it was
    worker = await fleet.start(command=ARQ, drain_seconds=1).ready()
    stuck = await book.submit("fault.never", timeout=1.0, max_attempts=1)
    neighbours = [
        *await book.submit_many("fault.sleep", [{"seconds": 0.5}] * 5),
        *await book.submit_many("fault.sleep", [{"seconds": 6.0}] * 2),  # longer than the drain
        *await book.submit_many("fault.thread", [{"seconds": 6.0}] * 2),
        *await book.submit_many("fault.process", [{"seconds": 6.0}]),
    ]
    record = await book.becomes(stuck, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["timeout"]
    await worker.ready(times=2)
    assert worker.ids[0] != worker.ids[1]
    records = await book.succeeds(*neighbours, await book.submit("fault.quick"))
    assert {(record.failures, record.crashes) for record in records} == {(0, 0)}
    assert {row["id"] for row in await book.workers()} == {worker.ids[1]}
    assert len(ledger.starts(stuck)) == 1
    ledger.check(silence=SILENCE)


async def test_the_worker_beside_an_api_comes_back_and_the_api_goes_on(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    port = free_port()
    command = (ERRANDER[0], "api", "--with-worker", "--port", str(port))
    api = await fleet.start(command=command, auth="off", drain_seconds=1).ready()
    stuck = await book.submit("fault.never", timeout=1.0, max_attempts=1)
    neighbours = await book.submit_many("fault.sleep", [{"seconds": 4.0}] * 3)
    record = await book.becomes(stuck, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["timeout"]
    await api.ready(times=2)
    records = await book.succeeds(*neighbours, await book.submit("fault.quick"))
    assert {(record.failures, record.crashes) for record in records} == {(0, 0)}
    assert api.alive
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/healthz")).status_code == 200
    api.send(signal.SIGTERM)
    assert await api.ended() in (0, -signal.SIGTERM)  # uvicorn sends itself the signal again once it has shut down
    assert await book.workers() == []
    ledger.check(silence=SILENCE)


async def test_a_coroutine_that_blocks_the_loop_for_longer_than_the_lease_costs_nobody_anything(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    other = fleet.start(slots=0)  # somebody who would rescue
    await other.ready()
    neighbours = await book.submit_many("fault.sleep", [{"seconds": 1.0}] * 5)
    await eventually(lambda: len(ledger.starts()) == 5)
    blocker = await book.submit("fault.block", {"seconds": 2 * LEASE})
    records = await book.succeeds(blocker, *neighbours)
    assert {(record.attempt, record.crashes) for record in records} == {(1, 0)}
    assert len(worker.ids) == 1
    ledger.started_once()


async def test_a_coroutine_that_blocks_the_loop_for_ever_fails_and_its_neighbours_run_again(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    neighbours = [
        *await book.submit_many("fault.sleep", [{"seconds": 1.5}] * 5),
        *await book.submit_many("fault.thread", [{"seconds": 1.5}] * 2),
        await book.submit("fault.process", {"seconds": 1.5}),
    ]
    await eventually(lambda: len(ledger.starts()) == len(neighbours), 20)
    blocker = await book.submit("fault.block", {"seconds": FOR_EVER}, timeout=1.0, max_attempts=1)
    record = await book.becomes(blocker, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["timeout"]
    await worker.ready(times=2)
    records = await book.succeeds(*neighbours)
    assert {(record.failures, record.crashes) for record in records} == {(0, 0)}
    assert len(ledger.starts(blocker)) == 1
    ledger.check(silence=SILENCE)


async def test_a_coroutine_that_refuses_to_be_cancelled_fails_alone(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    stuck = await book.submit("fault.deaf", {"seconds": FOR_EVER}, timeout=0.5, max_attempts=1)
    neighbours = await book.submit_many("fault.sleep", [{"seconds": 2.0}] * 5)
    record = await book.becomes(stuck, JobStatus.FAILED)
    assert [error["kind"] for error in errors(record)] == ["timeout"]
    await worker.ready(times=2)
    await book.succeeds(*neighbours)
    ledger.check(silence=SILENCE)


async def test_a_cancelled_job_that_never_ends_is_over_at_its_timeout(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready()
    stuck = await book.submit("fault.never", timeout=2.0)
    await eventually(lambda: ledger.starts(stuck))
    await book.cancel(stuck)
    record = await book.becomes(stuck, JobStatus.CANCELLED)
    assert record.cancelled_by == "client"
    await worker.ready(times=2)
    assert len(ledger.starts(stuck)) == 1


async def test_under_a_supervisor_a_retiring_process_ends_with_status_75(
    fleet: Fleet, book: JobBook, ledger: Ledger
) -> None:
    (worker,) = await fleet.ready(supervised=1)
    await book.submit("fault.never", timeout=0.5, max_attempts=1)
    assert await worker.ended() == 75
