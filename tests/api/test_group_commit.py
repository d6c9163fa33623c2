"""The mechanism of group commit, with commits that the test holds back; no store is involved."""

import asyncio
import contextvars
from collections.abc import Sequence

import pytest

from db.errors import BadRow, Unavailable
from service.submit import group_commit
from service.submit.group_commit import GroupCommit
from tests.fixtures.waiting import eventually


class Store:
    """Keeps what is written to it; a commit begins when it is called and ends when the test lets it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.begun: list[list[str]] = []
        self.kept: list[str] = []
        self.failure: Exception | None = None
        self.under_way = self.most_under_way = 0

    async def write(self, items: Sequence[str]) -> list[str]:
        self.begun.append(list(items))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        bad = [item for item in items if item.startswith("bad")]
        if bad:
            raise BadRow(" ".join(bad))
        self.kept += items
        return [f"kept {item}" for item in items]


def group_of(store: Store, *, in_flight: int = 1) -> GroupCommit[str, str]:
    return GroupCommit(store.write, size=len, in_flight=in_flight)


async def queued(group: GroupCommit[str, str], *items: str) -> list[asyncio.Task[str]]:
    """Requests for `items`, begun in this order."""
    tasks = [asyncio.create_task(group.submit(item)) for item in items]
    await asyncio.sleep(0)  # each has put its item into the queue
    return tasks


async def holding(store: Store, group: GroupCommit[str, str]) -> asyncio.Task[str]:
    """A request whose commit is under way until the test opens the store."""
    store.open.clear()
    (first,) = await queued(group, "first")
    await eventually(lambda: store.begun)
    return first


async def test_a_lone_item_is_written_at_once() -> None:
    store = Store()
    group = group_of(store)
    assert await group.submit("a") == "kept a"
    assert await group.submit("b") == "kept b"
    assert store.begun == [["a"], ["b"]]


async def test_what_arrives_during_a_commit_shares_the_next() -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    others = await queued(group, *(f"n{n}" for n in range(50)))
    store.open.set()
    assert await first == "kept first"
    assert await asyncio.gather(*others) == [f"kept n{n}" for n in range(50)]
    assert [len(items) for items in store.begun] == [1, 50]


async def test_a_group_is_bounded_by_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_ROWS", 3)
    monkeypatch.setattr(group_commit, "MAX_BYTES", 10)
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    others = await queued(group, "a", "b", "c", "d", "123456", "x" * 40, "e")
    store.open.set()
    await asyncio.gather(first, *others)
    assert store.begun == [["first"], ["a", "b", "c"], ["d", "123456"], ["x" * 40], ["e"]]


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_no_more_commits_are_under_way_than_allowed(in_flight: int) -> None:
    store = Store()
    group = group_of(store, in_flight=in_flight)
    store.open.clear()
    tasks = []
    for n in range(10):
        tasks += await queued(group, str(n))
        await asyncio.sleep(0)
    store.open.set()
    await asyncio.gather(*tasks)
    assert store.most_under_way == in_flight
    assert sorted(store.kept) == [str(n) for n in range(10)]


async def test_bad_items_are_refused_alone() -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    names = [f"n{n}" for n in range(20)]
    names[3], names[4], names[17] = "bad1", "bad2", "bad3"
    others = await queued(group, *names)
    store.open.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    for name, answer in zip(["first", *names], answers, strict=True):
        if name.startswith("bad"):
            assert isinstance(answer, BadRow)
            assert str(answer) == name  # nothing about its neighbours
        else:
            assert answer == f"kept {name}"
    assert len(store.kept) == len(set(store.kept)) == 18


@pytest.mark.parametrize("failure", [Unavailable("gone"), ZeroDivisionError("a mistake of ours")])
async def test_every_request_of_a_failed_commit_hears_of_it_and_the_next_goes_on(failure: Exception) -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    others = await queued(group, "a", "b")
    store.failure = failure
    store.open.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(failure)] * 3
    assert len({id(answer) for answer in answers}) == 3  # each has a traceback of its own
    store.failure = None
    assert await group.submit("later") == "kept later"


async def test_an_error_that_cannot_be_copied_still_reaches_its_requests() -> None:
    class StubbornError(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one + two)

    store = Store()
    store.failure = StubbornError("a", "b")
    with pytest.raises(StubbornError):
        await group_of(store).submit("x")


async def test_a_write_that_answers_for_too_few_fails_them_all() -> None:
    async def forgetful(items: Sequence[str]) -> list[str]:
        return list(items)[1:]

    group: GroupCommit[str, str] = GroupCommit(forgetful, size=len)
    with pytest.raises(ValueError, match="shorter"):
        await group.submit("a")


async def test_a_request_cancelled_before_its_commit_is_left_out() -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    gone, stays = await queued(group, "gone", "stays")
    gone.cancel()
    await asyncio.wait([gone])
    store.open.set()
    assert await stays == "kept stays"
    assert await first == "kept first"
    assert store.kept == ["first", "stays"]


async def test_a_request_cancelled_during_its_commit_is_committed_once_and_its_neighbours_are_answered() -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    neighbour = (await queued(group, "neighbour"))[0]
    first.cancel()
    await asyncio.wait([first])
    store.open.set()
    assert await neighbour == "kept neighbour"
    assert store.kept == ["first", "neighbour"]


async def test_an_item_whose_turn_does_not_come_is_refused_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    monkeypatch.setattr(group_commit, "MAX_WAIT_SECONDS", -1.0)
    (late,) = await queued(group, "late")
    store.open.set()
    with pytest.raises(Unavailable, match="nothing was written"):
        await late
    assert await first == "kept first"
    assert store.kept == ["first"]


async def test_stop_returns_when_everything_taken_is_answered() -> None:
    store = Store()
    group = group_of(store)
    first = await holding(store, group)
    others = await queued(group, "a", "b")
    stopping = asyncio.create_task(group.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    store.open.set()
    await stopping
    assert sorted(store.kept) == ["a", "b", "first"]
    await asyncio.gather(first, *others)


async def test_a_commit_inherits_nothing_from_the_request_that_began_it() -> None:
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="nobody's")
    seen = []

    async def write(items: Sequence[str]) -> list[str]:
        seen.append(mine.get())
        return list(items)

    mine.set("a request's")
    await GroupCommit(write, size=len).submit("a")
    assert seen == ["nobody's"]
