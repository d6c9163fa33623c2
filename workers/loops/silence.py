"""Silence is observed, not computed.

A worker is silent when its beat is older than the lease by the database's clock and was seen unchanged for three
beats, or when it was seen unchanged for a whole lease. What counts is how long *this process* has watched, by its own
monotonic clock; where two looks lie further apart than two beats, all observations start anew. So an outage, a stalled
disk, a suspended machine or a stepped clock kills nobody: after any of them everybody has time to beat first.

Every worker process observes, so that whoever becomes leader can act at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import failpoints, workers
from db.engine import Link
from db.workers import Beat
from workers.keeping import Kept

_BEATS_UNCHANGED = 3
_BEATS_APART = 2


@dataclass(slots=True)
class _Seen:
    beat: datetime
    since: float


class Silence:
    """What one process has seen of the beats of all. Pure but for the clock it is given."""

    def __init__(self, *, lease: float, heartbeat: float, clock: Callable[[], float]) -> None:
        self._lease = lease
        self._heartbeat = heartbeat
        self._clock = clock
        self._seen: dict[UUID, _Seen] = {}
        self._last_look = float("-inf")

    def look(self, beats: Iterable[Beat]) -> list[Beat]:
        """Takes one answer of the database; the workers that are silent now."""
        now = self._clock()
        if now - self._last_look > _BEATS_APART * self._heartbeat:
            self._seen.clear()
        self._last_look = now
        known: dict[UUID, _Seen] = {}
        silent: list[Beat] = []
        for beat in beats:
            seen = self._seen.get(beat.worker)
            if seen is None or seen.beat != beat.at:
                seen = _Seen(beat.at, now)
            known[beat.worker] = seen
            watched = now - seen.since
            old = beat.age > self._lease and watched >= _BEATS_UNCHANGED * self._heartbeat
            if old or watched > self._lease:
                silent.append(beat)
        self._seen = known
        return silent


class Observer(Kept):
    """Looks at the beats of all, at least as often as each of them beats."""

    name = "silence"

    def __init__(self, link: Link, silence: Silence, *, pause: float) -> None:
        super().__init__(pause)
        self._link = link
        self._silence = silence
        self._silent: list[Beat] = []
        self.on_look: Callable[[], None] = lambda: None
        """Called after each look that was answered."""

    def silent(self) -> list[Beat]:
        """Who was silent at the last look; nobody, if that was not answered."""
        return self._silent

    async def run_once(self) -> bool:
        """One look. Always asks. Raises DatabaseError in an outage."""
        self._silent = []
        await failpoints.reach("silence.looking")
        self._silent = self._silence.look(await workers.beats(self._link))
        self.on_look()
        return True
