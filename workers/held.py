"""What this process holds: every attempt from its claim until its outcome is confirmed.

Read by the control thread (roll call, watchdog) while the job loop changes it, so every access takes the lock; all
of them are short.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from workers.attempt import Attempt


@dataclass(slots=True)
class Entry:
    """A held attempt, and since when by this process's monotonic clock."""

    attempt: "Attempt"
    since: float = field(default_factory=time.monotonic)


class Held:
    """Attempts by job id, and the claims under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[UUID, Entry] = {}
        self._claims: dict[int, float] = {}
        self._next_claim = 0
        self._ambiguous = False
        """A claim ended without an answer: what it won is not known here."""

    def begin_claim(self) -> int:
        """A claim is about to be sent; the number ends it."""
        with self._lock:
            self._next_claim += 1
            self._claims[self._next_claim] = time.monotonic()
            return self._next_claim

    def end_claim(self, number: int, attempts: Iterable["Attempt"], *, ambiguous: bool = False) -> None:
        """The claim has been answered, and what it won is held; or it failed, and what it won is not known."""
        with self._lock:
            for attempt in attempts:
                self._entries[attempt.id] = Entry(attempt)
            del self._claims[number]
            self._ambiguous = self._ambiguous or ambiguous

    def take_ambiguous(self) -> bool:
        """Whether a claim was ambiguous since the last time this was asked."""
        with self._lock:
            was, self._ambiguous = self._ambiguous, False
            return was

    def oldest_claim(self) -> float | None:
        """When the oldest claim under way was begun; None where none is."""
        with self._lock:
            return min(self._claims.values(), default=None)

    def release(self, attempts: Iterable["Attempt"]) -> None:
        """The outcomes of these are confirmed, or refused for good.

        By attempt and not by job: a retry may have been claimed by this very process before the answer that confirms
        the attempt before it was read.
        """
        with self._lock:
            for attempt in attempts:
                entry = self._entries.get(attempt.id)
                if entry is not None and entry.attempt is attempt:
                    del self._entries[attempt.id]

    def snapshot(self) -> dict[UUID, Entry]:
        """What is held now."""
        with self._lock:
            return dict(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
