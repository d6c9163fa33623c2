"""What a run is told, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.chaos.plan import FAILPOINTS, FAULTS

NONE: Final = "none"
LONGEST_MINUTES: Final = 60.0
"""Everything that was written is judged at once, in memory; for longer, many runs with a seed each."""
_SHORTEST_MINUTES: Final = 0.1


class OptionsRefusedError(Exception):
    """A run cannot be made of these options; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Options:
    """`minutes` is how long jobs are submitted while faults happen; `rate` is jobs a second."""

    seed: int
    minutes: float = 3.0
    workers: int = 4
    rate: float = 20.0
    faults: tuple[str, ...] = tuple(FAULTS)
    folder: Path | None = None
    keep: bool = False

    @property
    def seconds(self) -> float:
        """How long the faulty part lasts."""
        return self.minutes * 60

    def check(self) -> "Options":
        """Itself. Raises OptionsRefusedError."""
        if not _SHORTEST_MINUTES <= self.minutes <= LONGEST_MINUTES:
            raise OptionsRefusedError(f"--minutes must be from {_SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}")
        if not 2 <= self.workers <= 64:  # one for each of the two pools; each is a whole process
            raise OptionsRefusedError("--workers must be from 2 to 64")
        if not 0 < self.rate <= 1000:
            raise OptionsRefusedError("--rate must be above 0 and at most 1000")
        if (
            self.folder is not None
            and self.folder.exists()
            and (not self.folder.is_dir() or any(self.folder.iterdir()))
        ):
            raise OptionsRefusedError(f"--folder {self.folder} exists and is not an empty folder")
        return self


def faults_of(text: str) -> tuple[str, ...]:
    """The names in a comma separated list, in the order of the table; `none` is an empty one.

    Raises OptionsRefusedError, naming those there are.
    """
    given = [part.strip() for part in text.split(",") if part.strip()]
    if given == [NONE]:
        return ()
    _refuse_unknown(given)
    return tuple(name for name in FAULTS if name in given)


def _refuse_unknown(given: Sequence[str]) -> None:
    unknown = [name for name in given if name not in FAULTS]
    if unknown or not given:
        what = f"no such fault: {', '.join(unknown)}" if unknown else "it names no fault"
        raise OptionsRefusedError(
            f"--faults: {what}; there are {', '.join(FAULTS)} ({FAILPOINTS} while jobs run), or {NONE}"
        )
