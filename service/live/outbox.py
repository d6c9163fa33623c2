"""What waits to be sent to one client: bounded, however slowly the client reads.

An outbox is filled by a feed and emptied by one stream, on one event loop. Of one job only the newest state is kept. Of a
list every state is kept in turn, up to `MOST`; beyond that the client is behind for good and is told to list again.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from db.changes import Mark
from service.live.told import Told

MOST: Final = 1_000
"""States that wait for one client: as many as one look may bring."""


class Outbox:
    """What both kinds share: news, and the end."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.over = asyncio.Event()
        """Set where the stream ends before its time."""

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.over.is_set()

    def close(self) -> None:
        """Ends the stream: the process is about to end, or the client's credential has."""
        self.over.set()
        self._news.set()

    async def news(self, seconds: float) -> bool:
        """Waits for something to do, at most so long. False: nothing happened."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class JobOutbox(Outbox):
    """The newest state of one job."""

    def __init__(self) -> None:
        super().__init__()
        self.newest: Told | None = None
        self.gone = False

    def begin(self, state: Told) -> None:
        """The state that was read for this client; what the feed has put meanwhile is no older."""
        if self.newest is None:
            self.put(state)

    def put(self, state: Told) -> None:
        """A newer state takes the place of the one that waits."""
        self.newest = state
        self._news.set()

    def lose(self) -> None:
        """The job is no longer there."""
        self.gone = True
        self._news.set()


class ListOutbox(Outbox):
    """States of the jobs that fit a filter, in the order in which they were seen."""

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        """Everything before it has been put here."""
        self.lost = False
        """Something had to be left out since the last reset."""
        self._waiting: deque[tuple[Told, Mark | None]] = deque()
        self._opening: dict[UUID, tuple[datetime, str]] = {}

    def begin(self, opening: Iterable[Told]) -> None:
        """The states that are sent first: what the feed has put of them meanwhile, and is older, is not sent."""
        self._opening = {state.id: (state.at, state.digest) for state in opening}

    def put(self, states: list[Told], mark: Mark) -> None:
        """What one look found, and its mark; the last state carries the mark."""
        self.mark = mark
        if not states or self.lost:
            return
        if len(self._waiting) + len(states) > MOST:
            self.lose(mark)
            return
        self._waiting.extend((state, None) for state in states[:-1])
        self._waiting.append((states[-1], mark))
        self._news.set()

    def lose(self, mark: Mark) -> None:
        """More has changed than is sent: the client must list again."""
        self.mark = mark
        self.lost = True
        self._waiting.clear()
        self._news.set()

    def found(self) -> Mark:
        """The client is told that something was left out; what is put from now on follows. Its place from then on."""
        self.lost = False
        self._opening.clear()
        return self.mark

    def take(self) -> tuple[Told, Mark | None] | None:
        """The next state to send, and the place that the client has reached with it where that is known; None: none."""
        while self._waiting:
            state, mark = self._waiting.popleft()
            sent = self._opening.get(state.id)
            if sent is None:
                return state, mark
            sent_at, digest = sent
            if state.at > sent_at:
                del self._opening[state.id]
                if state.digest != digest:
                    return state, mark
        return None
