"""Which failpoints a process carries: a few, with small probabilities, derived from the seed. And which have fired."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from db import failpoints
from db.failpoints import NAMES, Raises

_EACH = 5
"""Rules a process carries: a few processes later every failpoint has had its turn."""
_KILL = 0.004
"""Edges are passed some ten times a second, so a process that carries this lives for some twenty-five seconds."""
_RAISE = 0.05
_SLEEP = 0.02
_PAUSES: Final = ("0.05", "0.3", "1", "5")
"""Seconds; the last is longer than a lease."""
_API: Final = ("api.", "publisher.")
_WORKERS_NEVER: Final = ("api.",)


@dataclass(frozen=True, slots=True)
class Fired:
    """Once: which failpoint did what, in which process, when by CLOCK_MONOTONIC."""

    name: str
    action: str
    pid: int
    at: float


def rules(seed: int, who: str, generation: int, *, api: bool) -> str:
    """`ERRANDER_FAILPOINTS` of the process that is the `generation`-th under the name `who`."""
    rng = random.Random(f"{seed}:failpoints:{who}:{generation}")
    names = [name for name in NAMES if (name.startswith(_API) if api else not name.startswith(_WORKERS_NEVER))]
    return ",".join(_rule(rng, name) for name in sorted(rng.sample(names, min(_EACH, len(names)))))


def _rule(rng: random.Random, name: str) -> str:
    actions = ["kill", "sleep", *(["raise"] * 2 if NAMES[name] is not Raises.NOTHING else [])]
    match rng.choice(actions):
        case "kill":
            return f"{name}:kill:{_KILL}"
        case "sleep":
            return f"{name}:sleep({rng.choice(_PAUSES)}):{_SLEEP}"
        case _:
            return f"{name}:raise:{_RAISE}"


def environment(seed: int, rule_text: str, folder: Path) -> dict[str, str]:
    """The environment that arms a process with them."""
    return {
        failpoints.RULES: rule_text,
        failpoints.SEED: str(seed),
        failpoints.LOG: str(log_of(folder)),
        failpoints.WHEN: str(when_of(folder)),
    }


def log_of(folder: Path) -> Path:
    """Where what fired is written."""
    return folder / "failpoints.log"


def when_of(folder: Path) -> Path:
    """While this file is there, failpoints fire."""
    return folder / "failpoints.now"


def fired(log: Path) -> list[Fired]:
    """What has fired so far, in the order of the log; nothing where there is no log yet."""
    if not log.exists():
        return []
    lines = [line.split(" ") for line in log.read_text(encoding="utf-8").splitlines()]
    return [Fired(name, action, int(pid), float(at)) for _, at, pid, name, action, *_ in lines]
