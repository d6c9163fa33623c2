"""What becomes of ids that were asked for and not won: nothing starts, and what may be won later comes back."""

from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from db import queues, tasks, workers
from db.workers import WorkerRow
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, seconds_between
from tests.fixtures.waiting import eventually
from tests.workers.conftest import HINTS_ONLY, RunWorker
from workers.hints import Hint, Hints

QUEUE = "errander:default"


async def _hinted(book: JobBook, hints: Hints, job_id: UUID, redis_client: Redis) -> None:
    """Publishes a due hint for `job_id`, and one of a job that shows that the former has been dealt with."""
    await hints.publish([Hint(job_id, "default", "default", 0.0)])
    await eventually(lambda: _gone(redis_client, job_id))


async def _gone(redis_client: Redis, job_id: UUID) -> bool:
    score = await redis_client.zscore(QUEUE, str(job_id))
    seconds, micros = await redis_client.time()
    return score is None or score > (seconds + micros / 1e6) * 1000


async def test_an_early_hint_goes_back_to_its_time(
    run_worker: RunWorker, book: JobBook, hints: Hints, ledger: Ledger, redis_client: Redis
) -> None:
    async with run_worker(head=HINTS_ONLY):
        job_id = await book.submit("fault.quick", delay=1.0)
        await _hinted(book, hints, job_id, redis_client)
        (record,) = await book.succeeds(job_id)
    assert 0 <= seconds_between(record.run_at, record.started_at) < 0.5
    assert len(ledger.starts()) == 1


async def test_a_locked_job_is_tried_again_a_second_later(
    run_worker: RunWorker, book: JobBook, hints: Hints, redis_client: Redis
) -> None:
    async with run_worker(head=HINTS_ONLY):
        job_id = await book.submit("fault.quick")
        async with book.database.begin() as link:
            await link.executor.fetch("SELECT FROM errander.jobs WHERE id = $1 FOR UPDATE", job_id)
            await _hinted(book, hints, job_id, redis_client)
            assert (await book.get(job_id)).status == "PENDING"
        (record,) = await book.succeeds(job_id)
    assert 0.5 < seconds_between(record.created_at, record.started_at) < 5


async def test_a_hint_of_a_task_that_only_another_worker_has_is_kept_for_it(
    run_worker: RunWorker, book: JobBook, hints: Hints, redis_client: Redis
) -> None:
    other = WorkerRow(uuid4(), "default", ["default"], {"only.theirs": "hash"}, "host", 1, "0", 1)
    async with run_worker(head=HINTS_ONLY):
        job_id = await book.submit("only.theirs")
        await workers.join(book.database.link, other)
        await _hinted(book, hints, job_id, redis_client)
        await eventually(lambda: redis_client.zscore(QUEUE, str(job_id)))
        await workers.leave(book.database.link, other.id)
        # without a live worker that has it the next take drops it
        await eventually(lambda: _dropped(redis_client, job_id))
        assert (await book.get(job_id)).status == "PENDING"


async def _dropped(redis_client: Redis, job_id: UUID) -> bool:
    return await redis_client.zscore(QUEUE, str(job_id)) is None


@pytest.mark.parametrize(
    "why", ["final", "running", "paused queue", "paused task", "expired", "other pool", "unknown id", "unknown task"]
)
async def test_a_hint_that_cannot_be_won_is_dropped_and_starts_nothing(
    run_worker: RunWorker, book: JobBook, redis_client: Redis, ledger: Ledger, why: str
) -> None:
    hints = Hints(redis_client)
    async with run_worker(head=HINTS_ONLY):
        job_id = await _unwinnable(book, hints, ledger, why)
        before = len(ledger.starts(job_id))
        await hints.publish([Hint(job_id, "default", "default", 0.0)])
        await eventually(lambda: _dropped(redis_client, job_id))
        neighbour = await book.submit("fault.quick", priority="high")
        await hints.publish([Hint(neighbour, "default", "high", 0.0)])
        await book.succeeds(neighbour)
        assert await _dropped(redis_client, job_id)
        assert len(ledger.starts(job_id)) == before


async def _unwinnable(book: JobBook, hints: Hints, ledger: Ledger, why: str) -> UUID:
    """The id of a job that a worker of the pool `default` cannot win now."""
    link = book.database.link
    match why:
        case "final" | "running":
            job_id = await book.submit("fault.sleep", {"seconds": 0.0 if why == "final" else 1.5})
            await hints.publish([Hint(job_id, "default", "default", 0.0)])
            await eventually(lambda: ledger.starts(job_id))
            if why == "final":
                await book.succeeds(job_id)
            return job_id
        case "paused queue":
            await queues.pause(link, "default", "default", None)
        case "paused task":
            await tasks.pause(link, "fault.sleep", None)
            return await book.submit("fault.sleep", {"seconds": 0})
        case "expired":
            return await book.submit("fault.quick", expires_in=0.0)
        case "other pool":
            return await book.submit("fault.quick", pool="gpu")
        case "unknown id":
            return uuid4()
        case "unknown task":
            return await book.submit("nobody.has-it")
    return await book.submit("fault.quick")
