"""The two ways to a job: by hint, and by the head of what is due."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from redis.asyncio import Redis

from db import attempts, leader
from db.engine import Database
from db.errors import translated
from tests.faults.ledger import Ledger
from tests.fixtures.jobs import JobBook, seconds_between
from tests.fixtures.waiting import eventually
from tests.workers.conftest import HINTS_ONLY, RunWorker
from workers.attempt import Attempt
from workers.departure import Why
from workers.hints import Hint, Hints
from workers.room import Pace, Room

QUEUE = "errander:default"


async def test_a_job_is_taken_by_its_hint(run_worker: RunWorker, book: JobBook, hints: Hints) -> None:
    async with run_worker(head=HINTS_ONLY, priorities=("default",)):
        found = await book.submit("fault.quick")
        lost = await book.submit("fault.quick")
        await hints.publish([Hint(found, "default", "default", 0.0)])
        await book.succeeds(found)
        assert (await book.get(lost)).status == "PENDING"


async def test_a_job_without_a_hint_is_taken_by_head(run_worker: RunWorker, book: JobBook) -> None:
    async with run_worker():
        ids = [await book.submit("fault.quick", {"n": n}, priority=p) for n, p in enumerate(("high", "default", "low"))]
        await book.succeeds(*ids)


async def test_a_lone_hint_wakes_an_idle_worker_at_once(run_worker: RunWorker, book: JobBook, hints: Hints) -> None:
    async with run_worker(head=HINTS_ONLY), run_worker(head=HINTS_ONLY):
        waits = []
        for _ in range(15):
            job_id = await book.submit("fault.quick")
            await hints.publish([Hint(job_id, "default", "default", 0.0)])
            (record,) = await book.succeeds(job_id)
            waits.append(seconds_between(record.created_at, record.started_at))
    # an idle worker looks by itself once a second, so without the token half of them would wait for longer than 0.5 s
    assert sorted(waits)[len(waits) // 2] < 0.3, waits


async def test_there_is_never_more_than_one_wake_token(book: JobBook, hints: Hints, redis_client: Redis) -> None:
    for _ in range(5):
        ids = await book.submit_many("fault.quick", [{}] * 3)
        await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
    assert await redis_client.llen(f"{QUEUE}:wake") == 1  # type: ignore[misc]  # redis-py types it as both kinds


async def test_a_take_that_leaves_due_ids_passes_the_token_on(book: JobBook, hints: Hints, redis_client: Redis) -> None:
    ids = await book.submit_many("fault.quick", [{}] * 3)
    await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
    await redis_client.delete(f"{QUEUE}:wake")
    taken = await hints.take(QUEUE, 2)
    assert len(taken.ids) == 2
    assert await redis_client.llen(f"{QUEUE}:wake") == 1  # type: ignore[misc]
    await redis_client.delete(f"{QUEUE}:wake")
    assert len((await hints.take(QUEUE, 2)).ids) == 1
    assert await redis_client.llen(f"{QUEUE}:wake") == 0  # type: ignore[misc]


async def test_a_future_hint_starts_its_job_on_time_and_never_early(
    run_worker: RunWorker, book: JobBook, hints: Hints, ledger: Ledger
) -> None:
    async with run_worker(head=HINTS_ONLY):
        accepted = await book.accept("fault.quick", [{}] * 20, delay=0.7)
        await hints.publish([Hint(job.id, "default", "default", job.due_in) for job in accepted])
        records = await book.succeeds(*(job.id for job in accepted))
    late = [seconds_between(record.run_at, record.started_at) for record in records]
    assert min(late) >= 0
    assert max(late) < 0.5
    by_wall = {line.job: line.wall for line in ledger.starts()}
    assert all(by_wall[str(record.id)] >= record.run_at.timestamp() for record in records)


async def test_a_future_job_without_a_hint_starts_on_time_by_head(
    run_worker: RunWorker, book: JobBook, database: Database
) -> None:
    await leader.lead(database.link, uuid4(), seconds=60.0)  # else its own leader would publish a hint
    job_id = await book.submit("fault.quick", delay=2.0)
    async with run_worker(head=30.0, leader=60.0):  # its first look sees when the next is due
        (record,) = await book.succeeds(job_id)
    assert 0 <= seconds_between(record.run_at, record.started_at) < 1.0


async def test_jobs_without_hints_do_not_starve_behind_hints(
    run_worker: RunWorker, book: JobBook, hints: Hints
) -> None:
    async with run_worker(slots=2, head=0.3):
        forgotten = await book.submit("fault.quick")
        deadline = time.monotonic() + 10
        while (await book.get(forgotten)).status != "SUCCESS":
            assert time.monotonic() < deadline, "newer jobs with hints filled every slot"
            ids = await book.submit_many("fault.sleep", [{"seconds": 0.02}] * 20)
            await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])


async def test_a_deep_backlog_is_taken_by_head_and_leaves_no_hints(
    run_worker: RunWorker, book: JobBook, hints: Hints, redis_client: Redis
) -> None:
    ids = await book.submit_many("fault.quick", [{}] * 3000)
    await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids[:500]])
    async with run_worker(slots=100):
        await book.succeeds(*ids, timeout=60)
        assert await redis_client.zcard(QUEUE) == 0
        late = await book.submit("fault.quick")  # after the backlog nothing stays marked deep
        await book.succeeds(late)
    assert [key async for key in redis_client.scan_iter("arq:job:*")] == []


async def test_slots_are_never_exceeded(run_worker: RunWorker, book: JobBook, ledger: Ledger) -> None:
    async with run_worker(slots=3):
        await book.succeeds(*await book.submit_many("fault.sleep", [{"seconds": 0.05}] * 20))
    running = most = 0
    for line in sorted(ledger.starts() + ledger.ends(), key=lambda line: (line.at, line.what)):
        running += 1 if line.what == "start" else -1
        most = max(most, running)
    assert most == 3


# -- claimed ahead ---------------------------------------------------------------------------------------------------


async def test_short_jobs_are_claimed_ahead_and_never_run_beyond_the_slots(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[int] = []
    admit = Room.admit

    def admitted(room: Room, attempts: list[Attempt]) -> None:
        lines.append(len(attempts))
        admit(room, attempts)

    monkeypatch.setattr(Room, "admit", admitted)
    ids = await book.submit_many("fault.quick", [{}] * 3_000)
    async with run_worker(slots=20):
        await book.succeeds(*ids)
    assert max(lines) > 20, "no claim was larger than the slots"
    at_once = most = 0
    for line in ledger.lines():
        at_once += {"start": 1, "end": -1}.get(line.what, 0)
        most = max(most, at_once)
    assert 0 < most <= 20
    ledger.started_once()


async def test_what_was_claimed_ahead_goes_back_free_when_no_slot_comes(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [await book.submit("fault.sleep", {"seconds": 60.0}) for _ in range(2)]
    async with run_worker(slots=2, drain=0.2) as running:
        await eventually(lambda: len(ledger.starts()) == 2)
        with monkeypatch.context() as patched:
            patched.setattr(Pace, "per_second", lambda _: 1_000.0)  # as if the jobs before had been short
            ahead = await book.submit_many("fault.quick", [{}] * 5)
            await eventually(lambda: _returned(book, ahead))
        assert len(running.process.room.running) == 2
        assert len(ledger.starts()) == 2
        for job_id in long:
            await book.cancel(job_id)
        done = await book.succeeds(*ahead)
    assert {(record.failures, record.crashes) for record in done} == {(0, 0)}


async def _returned(book: JobBook, ids: Sequence[UUID]) -> bool:
    return all(["given-back" in await book.events(job_id) for job_id in ids])


async def test_a_drain_gives_back_at_once_what_was_claimed_ahead(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "per_second", lambda _: 1_000.0)
    monkeypatch.setattr("workers.room._PATIENCE_SECONDS", 60.0)
    ids = await book.submit_many("fault.sleep", [{"seconds": 0.5}] * 10)
    async with run_worker(slots=2, head=HINTS_ONLY) as running:
        await eventually(lambda: len(ledger.starts()) == 2)
        await running.drain()
        await running.ended()
    assert len(ledger.starts()) == 2
    counts = await book.counts(ids)
    assert counts == {"SUCCESS": 2, "PENDING": 8}


# -- large payloads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hinted", [True, False])
async def test_a_claim_brings_no_more_payload_into_a_process_than_it_should(
    run_worker: RunWorker, book: JobBook, hints: Hints, monkeypatch: pytest.MonkeyPatch, hinted: bool
) -> None:
    monkeypatch.setattr(attempts, "MOST_BYTES", 100_000)
    claims: list[list[int]] = []
    admit = Room.admit

    def admitted(room: Room, found: list[Attempt]) -> None:
        claims.append([len(attempt.job.payload.encode()) for attempt in found])
        admit(room, found)

    monkeypatch.setattr(Room, "admit", admitted)
    sizes = [30_000, 30_000, 30_000, 30_000, 30_000, 250_000, 10, 10, 10]
    ids = await book.submit_many("fault.echo", [{"text": "é" * (size // 2)} for size in sizes])
    settings = {"head": HINTS_ONLY, "priorities": ("default",)} if hinted else {}
    async with run_worker(**settings):
        if hinted:
            more = await book.submit_many("fault.echo", [{"text": "é" * (size // 2)} for size in sizes])
            began = time.monotonic()
            await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in more])
            await book.succeeds(*more)
            assert time.monotonic() - began < 30  # what was left over did not wait for a look at the head
        await book.succeeds(*ids)
    assert sum(map(len, claims)) == (18 if hinted else 9)
    large = [sizes for sizes in claims if sum(sizes[:-1]) >= 100_000]
    assert not large, "a job was added to a claim that was full"
    assert any(max(sizes) > 250_000 for sizes in claims if sizes), "a payload beyond the bound never came"


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DuplicatePreparedStatementError("prepared statement __asyncpg_stmt_9__ already exists"),
        MemoryError(),
        KeyError("a fault of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_take_ends_with_the_process_goes_on_and_takes_again(
    run_worker: RunWorker, book: JobBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = attempts.claim_by_head
    raised: list[Exception] = []

    async def claim_by_head(*given: Any, **options: Any) -> attempts.Head:
        if not raised:
            raised.append(error)
            with translated():
                raise error
        return await real(*given, **options)

    async with run_worker() as worker:
        running = await book.submit("fault.sleep", {"seconds": 1.0})
        await eventually(lambda: ledger.starts(running))
        monkeypatch.setattr(attempts, "claim_by_head", claim_by_head)
        await book.succeeds(await book.submit("fault.quick"), running)
        assert raised == [error]
        assert not worker.task.done()


async def test_a_worker_whose_row_has_grown_old_by_a_clock_that_was_set_forward_beats_at_once_and_takes(
    run_worker: RunWorker, book: JobBook
) -> None:
    async with run_worker(heartbeat=30.0, lease=120.0) as worker:
        await worker.idle()
        # what a step forward of a minute leaves behind: to the database the beat is old, to the worker it is not
        await book.execute("UPDATE errander.workers SET beat_at = beat_at - interval '1 min'")
        await book.succeeds(await book.submit("fault.quick"), timeout=15.0)
        worker.process.departure.begin(Why.DRAIN)  # as a signal would: a request is read with the next beat


async def test_what_nobody_can_win_at_the_head_is_not_asked_for_all_the_time(
    run_worker: RunWorker, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await book.submit_many("fault.quick", [{}] * 3)
    # a broken table, as fsck knows it: they stand in the queue and their jobs are over
    await book.execute("UPDATE errander.jobs SET status = 'CANCELLED', finished_at = now(), cancelled_by = 'client'")
    real, asked = attempts.claim_by_head, []

    async def claim_by_head(*given: Any, **options: Any) -> attempts.Head:
        asked.append(time.monotonic())
        return await real(*given, **options)

    monkeypatch.setattr(attempts, "claim_by_head", claim_by_head)
    # without Redis, whose waits are no shorter than a tenth of a second
    async with run_worker(slots=1, priorities=("default",), redis_url="redis://127.0.0.1:1/0"):
        await eventually(lambda: len(asked) > 8)
        before = len(asked)
        await asyncio.sleep(1.0)
        assert len(asked) - before < 30, "every 0.04 to 0.2 s"
        good = await book.submit("fault.quick", priority="default")
        await book.execute("DELETE FROM errander.ready WHERE id = ANY($1)", ids)
        await book.succeeds(good)
