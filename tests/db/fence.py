"""Every condition that fences an edge, and what goes wrong without it.

Each entry names a condition by its text in the statement, what takes its place, and a scene that comes out right only
with it. `tests/db/test_fences.py` plays each scene with the whole statement and with the mutilated one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.db.racing import Gate
from tests.db.scene import Scene

Play = Callable[[Scene, Gate], Awaitable[Any]]


@dataclass(frozen=True)
class Fence:
    """One condition of one statement."""

    statement: str
    condition: str
    instead: str
    play: Play
    """Returns what came of it."""
    right: Any
    """What comes of it with the whole statement."""
    times: int = 1
    """How often the condition stands in the text; all of them are taken out."""

    def __str__(self) -> str:
        return f"{self.statement}: {' '.join(self.condition.split())[:60]}"
