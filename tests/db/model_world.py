"""The real side of the model: a database whose clock the test sets, and what its tables hold."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from db import tasks
from db.engine import Link
from db.errors import translated
from db.lifecycle import JobStatus
from db.tasks import Announcement
from tests.db.clock import BEGINNING, Clock, install
from tests.db.model import Model
from tests.db.model_acts import Act
from tests.db.model_rows import Backoff, Event, Job, Key, Worker
from tests.fixtures.servers import Databases

T = TypeVar("T")

KNOWN_TASKS = ("a", "b")
_TABLES = ("history", "idempotency_keys", "jobs", "queue_pauses", "ready", "running", "task_pauses", "workers")
_EVERYTHING = "SELECT " + ", ".join(f"(SELECT array_agg(t) FROM errander.{table} t) AS {table}" for table in _TABLES)
_PLAIN = [column.name for column in fields(Job) if column.name not in ("backoff", "errors", "history", "status")]
_JSON = ("payload", "progress", "result")


@dataclass
class World:
    """One database and two connections to it; a third looks on."""

    runner: asyncio.Runner
    one: asyncpg.Connection[Any]
    two: asyncpg.Connection[Any]
    eye: asyncpg.Connection[Any]

    @classmethod
    def open(cls, runner: asyncio.Runner, url: str) -> Self:
        """Gives the fresh database at `url` its clock and its tasks, and connects."""

        async def connect() -> Self:
            await install(url)
            # who does not say so is not held back by a gate in a statement
            options = {"gate.key": "0"}
            world = cls(runner, *[await asyncpg.connect(url, server_settings=options) for _ in range(3)])
            known = [Announcement(name, "hash", {}) for name in KNOWN_TASKS]
            await tasks.announce(Link(world.one, "errander"), known)
            return world

        return runner.run(connect())

    def close(self) -> None:
        """Ends the connections."""
        for connection in (self.one, self.two, self.eye):
            self.run(connection.close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end, with a limit: nothing here may hang."""

        async def bounded() -> T:
            async with asyncio.timeout(30):
                return await work

        return self.runner.get_loop().run_until_complete(bounded())

    def empty(self) -> Model:
        """Forgets everything and begins at the beginning."""
        self.run(self.eye.execute("; ".join(f"DELETE FROM errander.{table}" for table in _TABLES)))
        model = Model(BEGINNING, frozenset(KNOWN_TASKS))
        self.set_clock(model)
        return model

    def set_clock(self, model: Model) -> None:
        """The database's clock shows what the model's does."""
        self.run(Clock(self.eye).set(model.now))

    def play(self, act: Act) -> Any:
        """One act as its party does it: a single statement commits by itself."""
        return self.run(self._play(act))

    async def _play(self, act: Act) -> Any:
        link = Link(self.one, "errander")
        if not act.together:
            return await act.play(link)
        with translated():
            async with self.one.transaction():
                return await act.play(link)

    def read(self, like: Model) -> Read:
        """What the tables hold, in the words of the model; the time and the catalogue are those of `like`."""
        return self.run(self._read(like))

    async def _read(self, like: Model) -> Read:
        (row,) = await self.eye.fetch(_EVERYTHING)
        found: dict[str, list[asyncpg.Record]] = {table: row[table] or [] for table in _TABLES}
        past = defaultdict(list)
        for row in sorted(found["history"], key=lambda row: row["id"]):
            past[row["job_id"]].append(_event(row))
        model = replace(
            like,
            jobs={row["id"]: _job(row, past.pop(row["id"], [])) for row in found["jobs"]},
            workers={row["id"]: _worker(row) for row in found["workers"]},
            paused_queues={(row["pool"], row["priority"]) for row in found["queue_pauses"]},
            paused_tasks={row["task"] for row in found["task_pauses"]},
            keys={
                (row["tenant"], row["key"]): Key(tuple(row["job_ids"]), row["check_after"])
                for row in found["idempotency_keys"]
            },
            locked=frozenset(),
        )
        ready = {row["id"]: tuple(row)[1:] for row in found["ready"]}
        running = {row["id"]: tuple(row)[1:] for row in found["running"]}
        return Read(model, ready, running, set(past))


@contextmanager
def a_world(databases: Databases, template: str) -> Iterator[World]:
    """A world of its own on the session's server, and a loop for it."""
    name = databases.create(template)
    with asyncio.Runner() as runner:
        world = World.open(runner, databases.server.url_of(name))
        try:
            yield world
        finally:
            world.close()
    databases.drop(name)


@dataclass(frozen=True)
class Read:
    """One look at the tables."""

    model: Model
    ready: dict[UUID, tuple[Any, ...]]
    running: dict[UUID, tuple[Any, ...]]
    orphans: set[UUID]
    """Jobs that are gone and whose history is not."""

    def differences(self, model: Model) -> list[str]:
        """Where the tables do not hold what the model says, as lines to read."""
        lines = [
            line
            for what in ("jobs", "workers", "keys")
            for line in _unlike(what, getattr(model, what), getattr(self.model, what))
        ]
        lines += _unlike("ready", model.ready, self.ready)
        lines += _unlike("running", model.running, self.running)
        for what in ("paused_queues", "paused_tasks"):
            if getattr(model, what) != getattr(self.model, what):
                lines.append(f"{what}: {getattr(model, what)} in the model, {getattr(self.model, what)} in the table")
        return lines + [f"history of {job_id.int}, which is gone" for job_id in self.orphans]


def _unlike(what: str, told: dict[Any, Any], found: dict[Any, Any]) -> Iterable[str]:
    for key in sorted(told.keys() | found.keys()):
        one, other = told.get(key), found.get(key)
        if one != other:
            name = key.int if isinstance(key, UUID) else key
            yield f"{what} {name}: {_fields(one, other)} in the model, {_fields(other, one)} in the table"


def _fields(row: Any, other: Any) -> Any:
    """What is not the same in the other row; the whole of it where there is no other."""
    if row is None or other is None or not is_dataclass(row):
        return row
    names = [column.name for column in fields(row)]
    return {name: getattr(row, name) for name in names if getattr(row, name) != getattr(other, name)}


def _event(row: asyncpg.Record) -> Event:
    detail = json.loads(row["detail"] or "{}")
    return Event(
        row["event"],
        row["status"],
        row["attempt"],
        row["worker_id"],
        row["started_at"],
        row["at"],
        detail.get("charged"),
        datetime.fromisoformat(detail["run_at"]) if detail.get("run_at") else None,
    )


def _job(row: asyncpg.Record, history: list[Event]) -> Job:
    plain = {name: row[name] for name in _PLAIN}
    for name in _JSON:
        plain[name] = None if row[name] is None else json.loads(row[name])
    backoff = json.loads(row["backoff"])
    return Job(
        **{
            **plain,
            "payload": plain["payload"]["n"],
            "progress": plain["progress"] and plain["progress"]["done"],
            "status": JobStatus(row["status"]),
            "backoff": Backoff(*(backoff[name] for name in ("kind", "base", "factor", "max"))),
            "errors": [(error["attempt"], error["kind"]) for error in json.loads(row["errors"])],
            "history": history,
        }
    )


def _worker(row: asyncpg.Record) -> Worker:
    served = tuple(sorted(json.loads(row["tasks"])))
    return Worker(row["id"], row["pool"], served, row["beat_at"], row["dead_at"], row["drain_requested_at"])
