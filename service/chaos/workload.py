"""What clients submit and do: derived from the seed alone. Pure.

Which job an act is about is drawn when it happens, because that depends on what has been accepted by then.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

POOLS: Final = ("default", "side")
PRIORITIES: Final = ("high", "default", "low")
TENANTS: Final = ("north", "south")
MARK: Final = "chaos"
"""The name under which a job's metadata holds its token."""

_SIDE = 0.15
_SOUTH = 0.3
_TWIN = 0.1
_FOREIGN = 0.05
_KEYED = 0.45
_RACE = 0.1
_BATCH = 0.04
_ACTS_A_JOB = 0.3
_LONG_BATCH = 120
"""More than twice the hint window of a run, so that backlogs become deep."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submit:
    """One request: a job, or a batch of them. `tokens` are its jobs' names in the ledger of the clients."""

    token: str
    tenant: str
    bodies: tuple[Body, ...]
    batch: bool = False
    key: str | None = None
    race: bool = False
    """It is sent to every API at once; only with a key."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """One for each job."""
        return tuple(body["metadata"][MARK] for body in self.bodies)


@dataclass(frozen=True, slots=True)
class Act:
    """Something a client does to a job, a queue or a task. `draw`, 0 to 1, chooses which; `seconds` is how long or far."""

    name: str
    draw: float
    tenant: str
    """Who does it; what is done to a job is done by its own tenant."""
    seconds: float = 0.0
    word: str = ""
    """A priority, a queue or a task."""
    foreign: bool = False
    """It is done to a job of the other tenant, and must come to nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens `at` seconds after the beginning."""

    at: float
    does: Submit | Act


@dataclass(frozen=True, slots=True)
class _Sort:
    """One sort of job: how often, and its payload in seconds or times, as a range."""

    task: str
    weight: float
    name: str = ""
    values: tuple[float, ...] = ()
    whole: bool = False
    fixed: Body = field(default_factory=dict)


_SORTS: Final[Sequence[_Sort]] = (
    _Sort("chaos.quick", 40),
    _Sort("chaos.sleep", 14, "seconds", (0.0, 2.0)),
    _Sort("chaos.sleep", 3, "seconds", (2.0, 4.0), fixed={"timeout": 0.5, "max_attempts": 2}),
    _Sort("chaos.polite", 5, "seconds", (0.1, 1.5)),
    _Sort("chaos.thread", 5, "seconds", (0.1, 1.5)),
    _Sort("chaos.thread", 0.5, "seconds", (2.0, 4.0), fixed={"timeout": 0.5, "max_attempts": 2}),
    _Sort("chaos.process", 4, "seconds", (0.1, 1.0)),
    _Sort("chaos.flaky", 8, "failures", (1, 6), whole=True),
    _Sort("chaos.retry", 4, "failures", (1, 3), whole=True),
    _Sort("chaos.snooze", 4, "times", (1, 3), whole=True),
    _Sort("chaos.fail", 3),
    _Sort("chaos.cancel", 2),
    _Sort("chaos.cancel-oddly", 0.5),
    _Sort("chaos.unreadable", 0.5, "value", (1, 9), whole=True),
    _Sort("chaos.unreadable-in-process", 0.3, "value", (1, 9), whole=True),
    _Sort("chaos.exit", 1),
    _Sort("chaos.block", 1, "seconds", (0.2, 2.5)),
    _Sort("chaos.deaf", 0.7, "seconds", (0.2, 1.5)),
    _Sort("chaos.killer", 0.3, "times", (1, 9), whole=True),
    _Sort("chaos.killer-in-process", 1, "times", (1, 9), whole=True),
    _Sort("chaos.forker", 1, "seconds", (0.1, 1.0)),
    _Sort("chaos.forker", 0.5, "seconds", (2.0, 4.0), fixed={"timeout": 0.5, "max_attempts": 2}),
    _Sort("chaos.forker-dies", 0.5, "times", (1, 3), whole=True),
)
TASKS: Final = tuple(sorted({sort.task for sort in _SORTS}))
"""The tasks that the workload submits."""

_ACTS: Final = {
    "get": 37.0,
    "list": 3.0,
    "cancel": 22.0,
    "replay": 12.0,
    "run-now": 8.0,
    "edit-priority": 4.0,
    "edit-pool": 2.0,
    "edit-run-at": 4.0,
    "submit-again": 10.0,
    "pause-queue": 2.0,
    "pause-task": 2.0,
    "replay-dead": 2.0,
}
"""What clients do beside submitting, and how often of a hundred."""
_NOT_ABOUT_ONE_JOB: Final = frozenset({"list", "submit-again", "pause-queue", "pause-task", "replay-dead"})


def steps(seed: int, seconds: float, rate: float) -> list[Step]:
    """Everything that clients do in `seconds`, with `rate` jobs a second, in its order."""
    found = [*_submits(random.Random(f"{seed}:jobs"), seconds, rate)]
    found += _acts(random.Random(f"{seed}:acts"), seconds, rate * _ACTS_A_JOB)
    return sorted(found, key=lambda step: step.at)


def _submits(rng: random.Random, seconds: float, rate: float) -> list[Step]:
    found: list[Step] = []
    at, number = 0.0, 0
    while at < seconds:
        number += 1
        submit = _submit(rng, f"r{number}")
        twins = [_twin(submit)] if submit.key is not None and rng.random() < _TWIN else []
        for one in (submit, *twins):
            found.append(Step(round(at, 4), one))
            # a batch takes the time of all its jobs, so that the rate is that of jobs
            at += sum(rng.expovariate(rate) for _ in one.bodies)
    return found


def _twin(submit: Submit) -> Submit:
    """The same from the other tenant, under the same keys, which are no business of each other's."""
    bodies = tuple(body | {"metadata": {MARK: f"{body['metadata'][MARK]}t"}} for body in submit.bodies)
    return replace(submit, token=f"{submit.token}t", tenant=other(submit.tenant), bodies=bodies)


def other(tenant: str) -> str:
    """The tenant that `tenant` is not."""
    return TENANTS[1 - TENANTS.index(tenant)]


def _tenant(rng: random.Random) -> str:
    return TENANTS[rng.random() < _SOUTH]


def _submit(rng: random.Random, token: str) -> Submit:
    key = f"key-{token}" if rng.random() < _KEYED else None
    tenant = _tenant(rng)
    if rng.random() >= _BATCH:
        return Submit(token, tenant, (_body(rng, token),), key=key, race=key is not None and rng.random() < _RACE)
    size = _LONG_BATCH if rng.random() < 0.1 else rng.randint(2, 30)
    bodies = []
    for number in range(size):
        body = _body(rng, f"{token}.{number}")
        if rng.random() < _KEYED / 2:
            body["idempotency_key"] = f"key-{token}.{number}"
        bodies.append(body)
    return Submit(token, tenant, tuple(bodies), batch=True, key=key)


def _body(rng: random.Random, token: str) -> Body:
    sort = rng.choices(_SORTS, [one.weight for one in _SORTS])[0]
    body: Body = {
        "task": sort.task,
        "payload": _payload(rng, sort),
        "pool": POOLS[rng.random() < _SIDE],
        "priority": rng.choice(PRIORITIES),
        "timeout": 10.0,
        "max_crashes": rng.choices((1, 2, 3, 5), (8, 10, 70, 12))[0],
        "backoff": rng.choice(
            (
                {"kind": "fixed", "base": 0.2, "jitter": 0.5},
                {"kind": "exponential", "base": 0.1, "factor": 2.0, "max": 2.0, "jitter": 0.2},
            )
        ),
        "metadata": {MARK: token},
    }
    if rng.random() < 0.2:
        body["delay"] = round(rng.uniform(0.2, 15.0), 3)
    if rng.random() < 0.06:
        body["expires_in"] = round(body.get("delay", 0.0) + rng.uniform(0.2, 4.0), 3)
    return body | sort.fixed


def _payload(rng: random.Random, sort: _Sort) -> Body:
    payload: Body = {}
    if sort.name:
        low, high = sort.values
        payload[sort.name] = rng.randint(int(low), int(high)) if sort.whole else round(rng.uniform(low, high), 3)
    if sort.task in ("chaos.retry", "chaos.snooze"):
        payload["defer"] = round(rng.uniform(0.1, 2.0), 3)
    return payload


def _acts(rng: random.Random, seconds: float, rate: float) -> list[Step]:
    found: list[Step] = []
    at = rng.expovariate(rate)
    while at < seconds:
        name = rng.choices(list(_ACTS), list(_ACTS.values()))[0]
        act = Act(name, rng.random(), _tenant(rng), round(rng.uniform(0.2, 6.0), 3), _word(rng, name))
        foreign = rng.random() < _FOREIGN and name not in _NOT_ABOUT_ONE_JOB
        found.append(Step(round(at, 4), replace(act, foreign=foreign)))
        at += rng.expovariate(rate)
    return found


def _word(rng: random.Random, name: str) -> str:
    priority, pool, task = rng.choice(PRIORITIES), rng.choice(POOLS), rng.choice(TASKS)
    match name:
        case "pause-queue":
            return priority if pool == "default" else f"{pool}:{priority}"
        case "pause-task":
            return task
        case "edit-pool":
            return pool
        case _:
            return priority
