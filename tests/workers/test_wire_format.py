"""Hints in Redis: the same keys as arq's own client writes, and scripts that keep their promises.

Due is judged by Redis's clock, so the tests ask Redis for the time as well, and move scores instead of waiting.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool, Redis

from workers.hints import MANY, Hint, Hints, encode, queue_name
from workers.redis_client import connect

QUEUE = "errander:default"
DEEP = f"{QUEUE}:deep"
WAKE = f"{QUEUE}:wake"
DAY_MS = 86_400_000


def hint(due_in: float = 0.0, job_id: UUID | None = None) -> Hint:
    return Hint(job_id or uuid4(), "default", "default", due_in)


async def now_ms(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return float(seconds * 1000 + micros / 1000)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def hints(redis: Redis) -> Hints:
    """The scripts, with a small window."""
    return Hints(redis, window=5, horizon=60.0)


@pytest.fixture
def many(redis: Redis) -> Callable[[int], Hints]:
    """The scripts with a window of one's choice."""
    return lambda window: Hints(redis, window=window)


@pytest.fixture
async def arq(redis_url: str) -> AsyncIterator[ArqRedis]:
    """arq's own client, writing JSON."""
    pool = ConnectionPool.from_url(redis_url)
    client = ArqRedis(pool, job_serializer=lambda call: json.dumps(call).encode(), job_deserializer=json.loads)
    yield client
    await client.aclose()
    await pool.disconnect()


# -- the same as arq's -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "priority", "due_in"), [("default", "high", 0.0), ("default", "high", 30.0), ("gpu", "low", 30.0)]
)
async def test_what_is_published_is_what_arqs_client_enqueues(
    hints: Hints, arq: ArqRedis, pool: str, priority: str, due_in: float
) -> None:
    redis, ours, theirs = arq, uuid4(), uuid4()
    queue = queue_name(pool, priority)
    due_at = datetime.now(UTC) + timedelta(seconds=due_in)
    await arq.enqueue_job("run", str(theirs), _job_id=str(theirs), _queue_name=queue, _defer_until=due_at)
    assert await hints.publish([Hint(ours, pool, priority, due_in)]) == 1

    members = {UUID(member.decode()): score for member, score in await redis.zrange(queue, 0, -1, withscores=True)}
    assert set(members) == {ours, theirs}
    assert abs(members[ours] - members[theirs]) < 2_000
    assert all(score == int(score) for score in members.values()), "whole milliseconds, as arq's"

    calls, lifetimes = {}, {}
    for job_id in (ours, theirs):
        calls[job_id] = json.loads(await redis.get(f"arq:job:{job_id}"))
        lifetimes[job_id] = await redis.pttl(f"arq:job:{job_id}")
    assert calls[ours] == calls[theirs] | {"a": [str(ours)], "et": calls[ours]["et"]}
    assert abs(calls[ours]["et"] - calls[theirs]["et"]) < 2_000
    assert abs(lifetimes[ours] - lifetimes[theirs]) < 2_000
    assert lifetimes[ours] > DAY_MS + due_in * 1000 - 2_000


async def test_what_arqs_client_enqueued_is_taken_and_nothing_of_it_stays(
    redis: Redis, hints: Hints, arq: ArqRedis
) -> None:
    job = uuid4()
    await arq.enqueue_job("run", str(job), _job_id=str(job), _queue_name=QUEUE)
    taken = await hints.take(QUEUE, 10)
    assert (taken.ids, taken.malformed, taken.deep) == ([job], 0, False)
    assert await redis.keys("*") == []


async def test_arqs_client_reads_what_was_published(hints: Hints, arq: ArqRedis) -> None:
    from arq.jobs import Job, JobStatus

    published = hint(30.0)
    await hints.publish([published])
    found = Job(str(published.id), arq, _queue_name=QUEUE, _deserializer=json.loads)
    assert await found.status() is JobStatus.deferred
    info = await found.info()
    assert info is not None
    assert (info.function, list(info.args)) == ("run", [str(published.id)])


# -- take ------------------------------------------------------------------------------------------------------------


async def test_a_take_removes_the_member_and_its_call_and_leaves_the_rest(redis: Redis, hints: Hints) -> None:
    first, second = hint(), hint()
    await hints.publish([first])
    await hints.publish([second])
    taken = await hints.take(QUEUE, 1)
    (left,) = {first.id, second.id} - set(taken.ids)
    assert await redis.zcard(QUEUE) == 1
    assert await redis.exists(f"arq:job:{taken.ids[0]}") == 0
    assert await redis.exists(f"arq:job:{left}") == 1
    assert taken.next_in == 0.0


async def test_nothing_is_taken_early_by_rediss_clock(redis: Redis, hints: Hints) -> None:
    published = hint(0.2)
    await hints.publish([published])
    (score,) = await redis.zmscore(QUEUE, [str(published.id)])
    while not (taken := await hints.take(QUEUE, 1)).ids:
        assert taken.next_in is not None
        assert taken.next_in <= 0.202, "rounded up, twice"
    assert await now_ms(redis) >= score


@pytest.mark.parametrize("due_in", [0.0001, 0.0015, 0.25, 1.9999999, 59.0])
async def test_a_score_is_never_before_the_due_time(redis: Redis, hints: Hints, due_in: float) -> None:
    before = await now_ms(redis)
    published = hint(due_in)
    await hints.publish([published])
    (score,) = await redis.zmscore(QUEUE, [str(published.id)])
    after = await now_ms(redis)
    assert before + due_in * 1000 <= score <= after + due_in * 1000 + 1.001


async def test_what_is_overdue_is_taken_in_the_order_of_its_due_times(hints: Hints) -> None:
    now, late, later = hint(), hint(-60.0), hint(-3_600.0)
    await hints.publish([now, late, later])
    assert [(await hints.take(QUEUE, 1)).ids for _ in range(3)] == [[later.id], [late.id], [now.id]]


@pytest.mark.parametrize(
    "member", [b"no id", b"\xff\x00\xfe", b"", b"01990000-0000-7000-8000-00000000000G", b"x" * 10_000]
)
async def test_a_malformed_member_is_removed_and_counted(redis: Redis, hints: Hints, member: bytes) -> None:
    good = hint()
    await redis.zadd(QUEUE, {member: 1})
    await hints.publish([good])
    taken = await hints.take(QUEUE, 10)
    assert (taken.ids, taken.malformed) == ([good.id], 1)
    assert await redis.zcard(QUEUE) == 0


@pytest.mark.parametrize("kind", ["text", "list", "hash"])
async def test_a_value_of_another_kind_under_the_queues_name_is_removed(redis: Redis, hints: Hints, kind: str) -> None:
    if kind == "text":
        await redis.set(QUEUE, "somebody else's")
    elif kind == "list":
        await redis.rpush(QUEUE, "somebody else's")  # type: ignore[misc]  # redis-py's union of sync and async
    else:
        await redis.hset(QUEUE, "a", "b")  # type: ignore[misc]
    assert (await hints.peek([QUEUE], 10)).due[QUEUE] == 1, "so that somebody takes it, and thereby removes it"
    assert (await hints.take(QUEUE, 10)).malformed == 1
    good = hint()
    await hints.publish([good])
    assert (await hints.take(QUEUE, 10)).ids == [good.id]


async def test_more_than_lua_unpacks_at_once_is_taken(redis: Redis, hints: Hints) -> None:
    await redis.zadd(QUEUE, {str(uuid4()): 1 for _ in range(9_000)})
    assert len((await hints.take(QUEUE, 9_000)).ids) == 9_000
    assert await redis.zcard(QUEUE) == 0


async def test_a_late_score_does_not_hide_a_job_that_is_published_anew(redis: Redis, hints: Hints) -> None:
    published = hint()
    await redis.zadd(QUEUE, {str(published.id): float("inf")})
    await hints.publish([published])
    assert (await hints.take(QUEUE, 1)).ids == [published.id]


async def test_a_doubled_hint_is_one_member_at_its_earlier_time(redis: Redis, hints: Hints) -> None:
    job = uuid4()
    await hints.publish([hint(10.0, job), hint(0.0, job), hint(20.0, job)])
    assert await redis.zcard(QUEUE) == 1
    assert (await hints.take(QUEUE, 5)).ids == [job]


async def test_peek_counts_what_is_due_and_says_when_the_next_is(redis: Redis, hints: Hints) -> None:
    other = queue_name("default", "low")
    await hints.publish([hint(), hint(), hint(), hint(5.0), Hint(uuid4(), "default", "low", 9.0)])
    await redis.set("errander:high:deep", "")
    peeked = await hints.peek([QUEUE, other, "errander:high"], 2)
    assert peeked.due == {QUEUE: 2, other: 0, "errander:high": -1}
    assert peeked.next_in is not None
    assert 4 < peeked.next_in <= 5.001


# -- the window and the mark of a deep backlog -----------------------------------------------------------------------


async def test_a_full_window_marks_the_queue_and_drops_what_is_due(redis: Redis, hints: Hints) -> None:
    later = hint(30.0)
    assert await hints.publish([*(hint() for _ in range(5)), later]) == 6
    assert await redis.exists(DEEP) == 0
    assert await hints.publish([hint()]) == 0
    assert await redis.get(DEEP) == b"", "a publisher's mark names no tasks"
    assert 0 < await redis.pttl(DEEP) <= 2_000
    assert [member.decode() for member in await redis.zrange(QUEUE, 0, -1)] == [str(later.id)]
    assert await redis.keys("arq:job:*") == [f"arq:job:{later.id}".encode()]


async def test_many_due_at_once_are_not_sent_but_mark_the_queue_and_wake_a_worker(
    redis: Redis, many: Callable[[int], Hints]
) -> None:
    hints = many(100_000)
    assert await hints.publish([hint() for _ in range(MANY - 1)]) == MANY - 1
    assert await redis.exists(DEEP) == 0
    await redis.flushdb()
    later = [hint(30.0) for _ in range(600)]
    assert await hints.publish([*(hint() for _ in range(MANY)), *later]) == len(later)
    assert await redis.get(DEEP) == b""
    assert await redis.llen(WAKE) == 1  # type: ignore[misc]  # redis-py's union of sync and async
    assert await redis.zcount(QUEUE, "-inf", time.time() * 1000) == 0
    assert await redis.zcard(QUEUE) == len(later)


async def test_while_the_mark_stands_nothing_due_is_published_or_taken(redis: Redis, hints: Hints) -> None:
    await hints.mark_deep(QUEUE, "abc")
    soon = hint(0.1)
    assert await hints.publish([hint(), hint(-1.0), soon]) == 1
    assert await redis.zcard(QUEUE) == 1
    await redis.zadd(QUEUE, {str(uuid4()): 1})
    taken = await hints.take(QUEUE, 10)
    assert (taken.ids, taken.deep) == ([], True)
    assert await redis.zcard(QUEUE) == 2


async def test_a_full_head_marks_drops_what_is_due_once_and_renews(redis: Redis, many: Callable[[int], Hints]) -> None:
    hints = many(100_000)
    for _ in range(5):
        await hints.publish([hint() for _ in range(500)])
    await hints.publish([hint(30.0)])
    await hints.mark_deep(QUEUE, "abc")
    assert await redis.get(DEEP) == b"abc"
    assert await redis.zcard(QUEUE) == 1
    assert len(await redis.keys("arq:job:*")) == 1
    await redis.pexpire(DEEP, 100)
    await hints.mark_deep(QUEUE, "abc")
    assert await redis.pttl(DEEP) > 1_000


@pytest.mark.parametrize(
    ("set_by", "cleared_by", "cleared"),
    [("", "abc", True), ("abc", "abc", True), ("abc", "other", False), (None, "abc", False)],
)
async def test_a_mark_is_cleared_by_its_own_task_set_or_if_a_publisher_set_it(
    redis: Redis, hints: Hints, set_by: str | None, cleared_by: str, cleared: bool
) -> None:
    if set_by is not None:
        await redis.set(DEEP, set_by)
    assert await hints.clear_deep(QUEUE, cleared_by) is cleared
    assert await redis.exists(DEEP) == (set_by is not None and not cleared)


async def test_a_publishers_mark_stays_a_publishers_when_a_worker_renews_it(redis: Redis, hints: Hints) -> None:
    await redis.set(DEEP, "")
    await hints.mark_deep(QUEUE, "abc")
    assert await redis.get(DEEP) == b"", "so that a worker with other tasks may still clear it"


async def test_the_future_is_bounded_by_the_window_and_by_the_horizon(redis: Redis, hints: Hints) -> None:
    assert await hints.publish([hint(61.0)]) == 0
    assert await hints.publish([hint(10.0 + n) for n in range(9)]) == 5
    assert await redis.zcard(QUEUE) == 5
    assert await hints.publish([hint()]) == 1, "what is due is not held up by the future"


# -- wake ------------------------------------------------------------------------------------------------------------


async def test_one_token_at_most_however_many_hints(redis: Redis, many: Callable[[int], Hints]) -> None:
    for _ in range(3):
        await many(100).publish([hint(), hint()])
    assert await redis.llen(WAKE) == 1  # type: ignore[misc]  # redis-py's union of sync and async


async def test_a_hint_that_an_idle_worker_would_find_by_itself_wakes_nobody(redis: Redis, hints: Hints) -> None:
    await hints.publish([hint(30.0)])
    assert await redis.exists(WAKE) == 0
    await hints.publish([hint(0.4)])
    assert await redis.exists(WAKE) == 1, "due before it would look again"


async def test_a_take_that_leaves_due_ids_passes_the_token_on(redis: Redis, hints: Hints) -> None:
    await hints.publish([hint(), hint(), hint(5.0)])
    await redis.delete(WAKE)
    await hints.take(QUEUE, 1)
    assert await redis.llen(WAKE) == 1  # type: ignore[misc]  # redis-py's union of sync and async
    await redis.delete(WAKE)
    await hints.take(QUEUE, 1)
    assert await redis.exists(WAKE) == 0, "what is left is not due"


async def test_each_queue_has_its_own_token(redis: Redis, hints: Hints) -> None:
    await hints.publish([hint(), Hint(uuid4(), "gpu", "low", 0.0)])
    assert set(await redis.keys("*:wake")) == {WAKE.encode(), b"errander:gpu:low:wake"}


# -- memory ----------------------------------------------------------------------------------------------------------


async def test_a_call_is_short(redis: Redis) -> None:
    assert len(encode(uuid4(), enqueued_ms=int(time.time() * 1000))) < 120
    assert await redis.ping()
