"""API keys as this process knows them: what PostgreSQL said of each, and until when that is believed.

A record is found by the id of its key, whichever secret was presented, so one id costs one look in `KEY_SECONDS` however
many guess at it. What is not believed any more is remembered all the same: whoever holds the secret of a key that was seen
here is told from a stranger without a look.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from db import keys as kept_keys
from db.engine import CLIENT_TIMEOUT, Link
from db.keys import KeyRecord
from service.http.problems import Problem, unavailable

KEY_SECONDS: Final = 5.0
"""How long it is believed that a key is what it was."""
MOST: Final = 10_000
"""Keys that are remembered; those that were seen first are forgotten first."""
TURNS: Final = 3
"""Looks at the same time for ids that were never seen: invented ones must not take the pool's connections from requests."""
MOST_UNSEEN: Final = 1_000
"""Ids that were never seen and wait for such a look; further ones are refused at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A key as it was, believed `until` a moment of the clock."""

    record: KeyRecord
    until: float


class KeyRecords:
    """Owned by the guard, for one event loop."""

    def __init__(self, link: Link, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._seen: dict[str, Seen] = {}
        self._looks: dict[tuple[int, str], asyncio.Task[Seen | None]] = {}
        self._turns = asyncio.Semaphore(TURNS)
        self._unseen = 0
        self._age = 0

    async def stop(self) -> None:
        """Ends looks that are under way."""
        tasks = [*self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def last(self, key_id: str) -> KeyRecord | None:
        """The key as it was seen last, however long ago; None: it was not."""
        seen = self._seen.get(key_id)
        return None if seen is None else seen.record

    async def find(self, key_id: str) -> Seen | None:
        """The key of this id, as it was at most `KEY_SECONDS` ago; None: there is none.

        Raises the errors of `db.errors`, and Problem `unavailable` where too many wait for a look at an id never seen.
        """
        seen = self._seen.get(key_id)
        if seen is not None and self._clock() < seen.until:
            return seen
        named = self._age, key_id
        look = self._looks.get(named)
        if look is None:
            look = self._looks[named] = asyncio.create_task(self._look(key_id), name="errander.auth.look")
            look.add_done_callback(lambda _: self._looks.pop(named, None))
        # Shielded: a client that goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(look)

    def forget(self) -> None:
        """Makes the next look at each key fresh, after this process changed one."""
        self._age += 1  # what a look under way has read may be no longer true: it is not believed, and nobody joins it
        self._seen = {key_id: Seen(seen.record, float("-inf")) for key_id, seen in self._seen.items()}

    async def _look(self, key_id: str) -> Seen | None:
        began, age = self._clock(), self._age
        if key_id in self._seen:
            record = await kept_keys.find(self._link, key_id)
        else:
            record = await self._look_in_turn(key_id)
        if record is None:
            self._seen.pop(key_id, None)
            return None
        if age != self._age:
            return Seen(record, float("-inf"))
        if key_id not in self._seen and len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        found = self._seen[key_id] = Seen(record, began + KEY_SECONDS)
        return found

    async def _look_in_turn(self, key_id: str) -> KeyRecord | None:
        if self._unseen >= MOST_UNSEEN:
            raise _too_many()
        self._unseen += 1
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT) as turn, self._turns:
                turn.reschedule(None)
                return await kept_keys.find(self._link, key_id)
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._unseen -= 1


def _too_many() -> Problem:
    return unavailable("too many API keys that this server has not seen yet are looked up at the moment; ask again")
