"""Which faults happen when: derived from the seed alone, so that a seed repeats its schedule. Pure.

Every kind comes once before any comes twice, so that a run of two minutes sees all of them; the gaps are drawn so that
faults also overlap.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

FAILPOINTS: Final = "failpoints"
"""No moment of its own: while it is among the faults, processes carry random failpoints."""

_GAP_SECONDS = (1.5, 4.5)
_FIRST_SECONDS = 2.0  # by then some jobs run
_EVERYBODY = 0.3  # how often a link is broken for all processes at once
_POSTGRES_LINK = 0.6  # how often it is the one to PostgreSQL


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault does, and how many seconds it lasts at least and at most."""

    text: str
    shortest: float = 0.0
    longest: float = 0.0
    link: bool = False
    """It concerns the link of some processes to one server."""


FAULTS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "kill-worker": Kind("kill -9 of a worker"),
        "kill-leader": Kind("kill -9 of the worker that leads"),
        "kill-api": Kind("kill -9 of an API process"),
        "drain-worker": Kind("SIGTERM of a worker, and another in its place"),
        # beyond a lease, so that somebody else runs its jobs by the time it wakes
        "freeze-worker": Kind("a worker stands still for longer than its lease", 4.5, 8.0),
        "freeze-leader": Kind("the worker that leads stands still for longer than its lease", 4.5, 8.0),
        "freeze-all": Kind("every process stands still, the servers too", 0.5, 5.0),
        "flush": Kind("FLUSHALL"),
        "valkey-kill": Kind("kill -9 of Valkey, which comes back empty", 0.1, 4.0),
        "valkey-freeze": Kind("Valkey stands still", 0.5, 5.0),
        "valkey-full": Kind("Valkey is out of memory and refuses every write", 1.0, 5.0),
        "postgres-fast": Kind("a fast restart of PostgreSQL", 0.0, 2.0),
        "postgres-immediate": Kind("an immediate restart of PostgreSQL, as after a crash", 0.0, 2.0),
        "postgres-freeze": Kind("PostgreSQL stands still", 0.5, 6.0),
        "postgres-terminate": Kind("every connection to PostgreSQL is terminated by the server"),
        "postgres-connections": Kind("no connection to PostgreSQL is left", 1.0, 5.0),
        "link-latency": Kind("a link is slow", 1.0, 5.0, link=True),
        "link-narrow": Kind("a link carries little", 1.0, 4.0, link=True),
        "link-silent": Kind("a link carries nothing, and nobody is told", 0.5, 6.0, link=True),
        "link-reset": Kind("a link's connections are reset", link=True),
        "link-half-close": Kind("a link's connections are closed by the server's side only", link=True),
        "link-cut": Kind("a link is reset after so many bytes more", 1.0, 4.0, link=True),
        "link-refuse": Kind("a link refuses new connections", 0.5, 4.0, link=True),
        FAILPOINTS: Kind("processes die, hang or fail at random edges of the protocol"),
    }
)
"""Every fault by its name."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at` and `seconds` count from the first submit; `draw` and `amount`, 0 to 1, choose whom and how much."""

    at: float
    name: str
    seconds: float
    draw: float
    amount: float
    server: str = ""
    """`postgres` or `valkey`, where it concerns a link."""
    everybody: bool = False

    def __str__(self) -> str:
        words = [f"{self.at:7.2f} s  {self.name}"]
        if self.seconds:
            words.append(f"for {self.seconds:.2f} s")
        if self.server:
            words.append(f"of {'every process' if self.everybody else 'one process'} to {self.server}")
        return " ".join(words)


def schedule(seed: int, seconds: float, names: Sequence[str]) -> list[Fault]:
    """The faults of a run, in the order of their beginnings; each is over within `seconds`."""
    rng = random.Random(f"{seed}:faults")
    kinds = [name for name in names if name != FAILPOINTS]
    if not kinds:
        return []
    found: list[Fault] = []
    at = _FIRST_SECONDS
    for name in _rounds(rng, kinds):
        if at >= seconds:
            return found
        fault = _drawn(rng, at, name)
        if fault.at + fault.seconds <= seconds:
            found.append(fault)
        at += rng.uniform(*_GAP_SECONDS)
    return found


def _rounds(rng: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """The names without end, in shuffled rounds."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def _drawn(rng: random.Random, at: float, name: str) -> Fault:
    kind = FAULTS[name]
    # drawn for every kind alike, so that leaving one out changes the others as little as possible
    seconds, draw, amount = rng.uniform(kind.shortest, kind.longest), rng.random(), rng.random()
    postgres, everybody = rng.random() < _POSTGRES_LINK, rng.random() < _EVERYBODY
    server = ("postgres" if postgres else "valkey") if kind.link else ""
    return Fault(round(at, 3), name, round(seconds, 3), draw, amount, server, everybody and kind.link)
