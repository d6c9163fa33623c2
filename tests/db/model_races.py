"""Two acts at once over two connections, in a stated order of their steps, and what may come of it.

One transaction is held open between two of its statements, or before its commit, while the other one runs; where that
waits for a lock, it goes on when the first has ended. Or a statement is held back after it has taken its snapshot and
before it locks a row, while the other transaction comes and goes. What comes of it must be what one after the other
would have done, in either order; a statement whose rows come round again may besides leave out what the other one holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from db.engine import Link
from db.errors import Locked, translated
from tests.db.model import Model
from tests.db.model_acts import Act
from tests.db.model_world import World
from tests.db.texts import Texts
from tests.fixtures.waiting import eventually

_KEY = 4711
_WAITS = "SELECT cardinality(pg_blocking_pids($1)) > 0"
_HELD_BACK = "(SELECT pg_advisory_xact_lock_shared(CAST(current_setting('gate.key') AS bigint))) IS NOT NULL"
# Where a statement has its snapshot and has locked no job yet.
_PLACES = {
    "claim_by_id": "    FOR NO KEY UPDATE OF",
    "claim_by_head": "    LIMIT CAST(:n AS int)\n),\n",
    "rescue": "    ORDER BY j.id\n    LIMIT CAST(:n AS int)",
    **dict.fromkeys(
        ["succeed", "fail", "crash", "snooze", "give_back", "cancel_running", "expire", "prune_jobs"],
        "    ORDER BY j.id\n",
    ),
}

TURNED_AWAY = "turned away"
"""The answer of an act that was not granted a lock in time: it has changed nothing, and its party tries again."""


def gated(texts: Texts) -> None:
    """Puts the place to be held back at into the statements; a connection says by `gate.key` whether it means it."""
    for name, place in _PLACES.items():
        texts.replace(name, place, f" AND {_HELD_BACK}\n{place}")


@dataclass(frozen=True)
class Plan:
    """How two acts meet."""

    after: int = 9
    """Statements of the first that have run when the second begins; of fewer, all, and its commit is still to come."""
    held_back: bool = False
    """Instead: the second has its snapshot, then the first runs whole, then the second goes on."""
    early: bool = True
    """The second commits when it has run, and not only after the first."""
    kept: bool = True
    """The first commits in the end, and does not roll back."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """Where a transaction waits: after some statements, and at the latest before its end."""

    after: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[str] = field(default_factory=list)

    async def before_statement(self, name: str) -> None:
        """Waits in front of the statement, if it is its turn to."""
        if len(self.ran) == self.after:
            await self.stop()
        self.ran.append(name)

    async def stop(self) -> None:
        """Says that the place is reached, and waits to go on."""
        self.reached.set()
        await self.go.wait()


@dataclass(frozen=True, slots=True)
class _SteppedLink(Link):
    """A connection whose statements wait for their turn."""

    steps: _Steps

    async def fetch(self, name: str, /, **binds: Any) -> list[asyncpg.Record]:
        """One statement, when it may."""
        await self.steps.before_statement(name)
        return await Link.fetch(self, name, **binds)


async def _side(connection: asyncpg.Connection[Any], act: Act, steps: _Steps, *, kept: bool = True) -> Any:
    """One act as a transaction of its own; its answer."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        with translated():
            answer = await act.play(_SteppedLink(connection, "errander", steps))
        await steps.stop()
    except BaseException as error:
        await transaction.rollback()
        if isinstance(error, Locked) and "deadlock" not in str(error):
            steps.reached.set()
            return TURNED_AWAY
        raise
    await (transaction.commit() if kept else transaction.rollback())
    return answer


class _Race:
    """The two transactions of one race, neither of which outlives it."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.first = _Steps(-1 if plan.held_back else plan.after)
        self.second = _Steps(-1)
        self.tasks: list[asyncio.Task[Any]] = []

    def begin(self, act: Act, steps: _Steps) -> None:
        """The first transaction, or the second."""
        first = steps is self.first
        connection, kept = (self.world.one, self.plan.kept) if first else (self.world.two, True)
        self.tasks.append(asyncio.create_task(_side(connection, act, steps, kept=kept)))

    async def settled(self, steps: _Steps, *, stopping: bool = True) -> None:
        """Returns when the transaction has come to its stop, has ended, or waits for a lock."""
        connection = self.world.one if steps is self.first else self.world.two
        task = self.tasks[0 if (steps is self.first) != self.plan.held_back else 1]

        async def there() -> bool:
            if task.done() or (stopping and steps.reached.is_set()):
                return True
            return bool(await self.world.eye.fetchval(_WAITS, connection.get_server_pid()))

        await eventually(there)

    async def open(self, first: Act, second: Act) -> None:
        """The first is held open while the second runs."""
        self.begin(first, self.first)
        await self.settled(self.first)
        if self.plan.early:
            self.second.go.set()
        self.begin(second, self.second)
        await self.settled(self.second, stopping=not self.plan.early)
        self.first.go.set()
        # the second may hold what the first needs next
        await self.settled(self.first, stopping=False)

    async def held_back(self, first: Act, second: Act) -> None:
        """The second has its snapshot when the first begins."""
        self.first.go.set()
        self.second.go.set()
        await self.world.two.execute(f"SET gate.key = {_KEY}")
        await self.world.eye.execute(f"SELECT pg_advisory_lock({_KEY})")
        try:
            self.begin(second, self.second)
            await self.settled(self.second)
            self.begin(first, self.first)
            await self.settled(self.first, stopping=False)
        finally:
            await self.world.eye.execute(f"SELECT pg_advisory_unlock({_KEY})")

    async def run(self, first: Act, second: Act) -> tuple[Any, Any]:
        """Both answers."""
        try:
            await (self.held_back if self.plan.held_back else self.open)(first, second)
        finally:
            self.first.go.set()
            self.second.go.set()
            ended = await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.world.two.execute("SET gate.key = 0")
        for answer in ended:
            if isinstance(answer, BaseException):
                raise answer
        one, two = ended[::-1] if self.plan.held_back else ended
        return one, two


def race(world: World, first: Act, second: Act, plan: Plan) -> tuple[Any, Any]:
    """Plays the two as planned; their answers."""

    async def played() -> tuple[Any, Any]:
        return await _Race(world, plan).run(first, second)

    return world.run(played())


# -- what may come of it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A state that may be found afterwards, and the answers that go with it."""

    order: str
    model: Model
    first: Any
    second: Any

    def agrees(self, first: Act, second: Act, answers: tuple[Any, Any], before: Model) -> bool:
        """Whether these answers go with it; `before` is the state that both have found."""
        told = (first, self.first, answers[0]), (second, self.second, answers[1])
        return all(answer == said or _seen_before(act, said, answer, before) for act, said, answer in told)


def _seen_before(act: Act, told: Any, answer: Any, before: Model) -> bool:
    """How many candidates a head has is counted before any is locked: two heads may both have seen the same."""
    if act.kind != "claim_by_head" or TURNED_AWAY in (told, answer):
        return False
    seen, _ = act.tell(before.copy())
    return bool(answer == (seen, told[1]))


def outcomes(model: Model, first: Act, second: Act, answers: tuple[Any, Any], *, kept: bool) -> Iterator[Outcome]:
    """Every end that one after the other could have led to, the likelier ones first."""
    one, two = kept and answers[0] != TURNED_AWAY, answers[1] != TURNED_AWAY
    acts = [(act, name) for act, name, runs in ((first, "first", one), (second, "second", two)) if runs]
    held = {"first": _locks(model, second), "second": _locks(model, first)}
    for order in (acts, acts[::-1]):
        for skipping in (None, "second", "first"):
            now = model.copy()
            said: dict[str, Any] = {"first": answers[0], "second": answers[1]}
            for act, name in order:
                now.locked = held[name] if name == skipping else frozenset()
                said[name] = act.tell(now)
            now.locked = frozenset()
            told = " then ".join(name for _, name in order) + (f", {skipping} leaves out" if skipping else "")
            yield Outcome(told, now, said["first"], said["second"])


def _locks(model: Model, act: Act) -> frozenset[UUID]:
    """What is not to be had while the act is not over.

    That is what it names and locks, what it changes, and what runs under a worker whose row it changes: the reaper waits
    for that row, but has looked at the leases before, so it takes those jobs at its next tick.
    """
    state = model.copy()
    act.tell(state)
    changed = {job_id for job_id, job in model.jobs.items() if state.jobs.get(job_id) != job}
    workers = {worker_id for worker_id, row in model.workers.items() if state.workers.get(worker_id) != row}
    under = {job_id for job_id in model.running if model.jobs[job_id].worker_id in workers}
    return act.locks | changed | under
