"""Group commit: requests that arrive while one commit is under way share the next.

Owns who waits, who shares a commit, and who hears what; what is written is the business of the function it is given.
Nobody waits for company: a lone item is written at once, and a group forms only because a commit takes time. An item is
refused for what is wrong with itself and never for what is wrong with its neighbours: a group that PostgreSQL refuses is
halved until the bad row stands alone.
"""

import asyncio
import contextvars
import copy
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from db.engine import CLIENT_TIMEOUT
from db.errors import BadRow, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MAX_ROWS = 500
"""Items in one commit: some 20 ms, so that nobody pays much for company."""
MAX_BYTES = 4 * 1024 * 1024
"""Bytes in one commit; a larger item is written alone."""
MAX_WAIT_SECONDS = CLIENT_TIMEOUT
"""How long an item waits for its turn before it is refused: as long as a statement may take."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    size: int
    answer: asyncio.Future[Answer]
    until: float


class GroupCommit(Generic[Item, Answer]):
    """Owned by one process and one event loop.

    `write` commits several items and returns their answers in the same order. It raises BadRow if one of them cannot be
    stored, and then none is; whatever else it raises is raised to each of them. `size` tells about how many bytes an
    item takes. At most `in_flight` commits are under way at once.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        size: Callable[[Item], int],
        in_flight: int = 1,
    ) -> None:
        self._write = write
        self._size = size
        self._in_flight = in_flight
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Answer:
        """The answer to `item`, once it is committed. Raises what became of it instead.

        Cancelled before its commit began, it is left out; cancelled later, it is committed and nobody is told.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, self._size(item), answer, time.monotonic() + MAX_WAIT_SECONDS))
        if len(self._writers) < self._in_flight:
            # In a context of its own: what one request has bound for its log lines is not true of the others.
            writer = asyncio.create_task(self._run(), name="errander.group_commit", context=contextvars.Context())
            self._writers.add(writer)
        return await answer

    async def stop(self) -> None:
        """Returns when everything that was taken is answered. Nothing may be submitted any more."""
        while self._writers:
            await asyncio.wait(self._writers)

    async def _run(self) -> None:
        current = asyncio.current_task()
        try:
            while group := self._next_group():
                await self._commit(group)
        finally:
            # Before anything else can run: whoever submits next must see that nobody writes any more.
            self._writers = {writer for writer in self._writers if writer is not current}

    def _next_group(self) -> list[_Waiting[Item, Answer]]:
        group: list[_Waiting[Item, Answer]] = []
        size = 0
        now = time.monotonic()
        while self._queue and len(group) < MAX_ROWS:
            first = self._queue[0]
            if first.answer.cancelled():
                self._queue.popleft()
                continue
            if first.until < now:
                self._queue.popleft()
                first.answer.set_exception(Unavailable("its turn did not come in time; nothing was written"))
                continue
            size += first.size
            if group and size > MAX_BYTES:
                break
            group.append(self._queue.popleft())
        return group

    async def _commit(self, group: Sequence[_Waiting[Item, Answer]]) -> None:
        """Answers every item of `group`."""
        try:
            answers = await self._write([one.item for one in group])
            told = list(zip(group, answers, strict=True))
        except BadRow as error:
            if len(group) > 1:
                half = len(group) // 2
                await self._commit(group[:half])
                await self._commit(group[half:])
            else:
                _refuse(group, error)
        except Exception as error:  # whatever it is, every request that waits must hear of it
            _refuse(group, error)
        else:
            for one, answer in told:
                if not one.answer.done():
                    one.answer.set_result(answer)


def _refuse(group: Sequence[_Waiting[Item, Answer]], error: Exception) -> None:
    for one in group:
        if not one.answer.done():
            one.answer.set_exception(_own(error))


def _own(error: Exception) -> Exception:
    """A copy of `error`: an exception gathers a traceback wherever it is raised, so each request raises one of its own."""
    try:
        own = copy.copy(error)
    except Exception:  # not every exception can be copied, and one that is shared is better than none
        return error
    own.__cause__ = error
    return own
