"""Hints: ids worth trying, in Redis, in arq's own wire format.

A queue is arq's sorted set of job ids, scored by when they fall due in milliseconds; `arq:job:<id>` holds the call in
arq's form, so that arq's own client can enqueue for us and read what we enqueued. A hint may be lost, doubled, stale
or garbage: a worker must still win the job in PostgreSQL. Due is judged by Redis's clock inside the scripts, and what
is published carries how long from now, so that a clock that differs from the database's makes nothing early or late.

`<queue>:deep` is the mark of a deep backlog: while it stands nobody publishes due jobs there, and workers claim the
head of PostgreSQL. `<queue>:wake` holds at most one token; an idle worker waits for it.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError

FINAL_CHANNEL = "errander:final"
"""Pub/sub channel: each message is the comma-separated ids of jobs that have just become final."""

ARQ_FUNCTION = "run"
"""The one function that arq knows of."""
_FUNCTION = ARQ_FUNCTION.encode()

DEFAULT_POOL = "default"
DEEP_MS = 2000
"""Lifetime of the mark of a deep backlog."""

MANY = 1000
"""So many due jobs published in one queue at once make its backlog deep: claiming its head costs less than their hints."""

_EXTRA_MS = 86_400_000  # how long arq itself keeps a payload key beyond its score
_CHUNK = 500  # ids a script call: each blocks Redis for its whole length
_UUID = re.compile(rb"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
_FOLDER = Path(__file__).parent / "lua"


class Hint(NamedTuple):
    """A job worth trying in `due_in` seconds; zero or less: now."""

    id: UUID
    pool: str
    priority: str
    due_in: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What a take found: `deep` queues give nothing; `next_in` seconds until the next hint, None where there is none."""

    ids: list[UUID]
    deep: bool
    next_in: float | None
    malformed: int


@dataclass(frozen=True, slots=True)
class Peeked:
    """How many ids are due in each queue (-1: marked deep), and seconds until the next future one of any."""

    due: dict[str, int]
    next_in: float | None


def queue_name(pool: str, priority: str) -> str:
    """Arq's name of a queue."""
    return f"errander:{priority}" if pool == DEFAULT_POOL else f"errander:{pool}:{priority}"


def health_key(pool: str, priorities: Sequence[str]) -> str:
    """Where the workers of a pool that serve these priorities say that they are well, for `arq --check`."""
    name = queue_name(pool, str(priorities[0])) if len(priorities) == 1 else f"errander:{pool}:all"
    return f"{name}:health-check"


def encode(job_id: UUID | str, *, enqueued_ms: int) -> bytes:
    """The call as arq writes it: try, function, arguments, keyword arguments, time of enqueueing; as JSON."""
    return b'{"t":null,"f":"%b","a":["%b"],"k":{},"et":%d}' % (_FUNCTION, str(job_id).encode(), enqueued_ms)


class Hints:
    """The scripts over one client. Errors of the client are the caller's: nothing here is needed to be right."""

    def __init__(self, redis: Redis, *, window: int = 5000, horizon: float = 60.0) -> None:
        self._redis = redis
        self._window = window
        self._horizon_ms = int(horizon * 1000)
        self._scripts = {path.stem: redis.register_script(path.read_text()) for path in sorted(_FOLDER.glob("*.lua"))}

    async def publish(self, hints: Iterable[Hint]) -> int:
        """Adds hints, one script call a queue and chunk, in one pipeline. Returns how many Redis took.

        Of `MANY` due ones in one queue none is sent: the queue is marked deep at once.
        """
        by_queue: dict[tuple[str, str], list[Hint]] = {}
        for hint in hints:
            by_queue.setdefault((hint.pool, hint.priority), []).append(hint)
        calls = [call for queue, found in by_queue.items() for call in self._calls(queue_name(*queue), found)]
        if not calls:
            return 0
        script = self._scripts["publish"]
        if len(calls) == 1:
            # The usual case, one queue: a pipeline would first ask Redis whether it has the script.
            return int(await script(*calls[0]))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for keys, arguments in calls:
                await script(keys, arguments, client=pipeline)
            return sum(await pipeline.execute())

    def _calls(self, queue: str, hints: Sequence[Hint]) -> Iterator[tuple[list[str], list[Any]]]:
        """Keys and arguments of each call of the script that publishes `hints` in `queue`."""
        keys = [queue, f"{queue}:deep", f"{queue}:wake"]
        later = [hint for hint in hints if hint.due_in > 0]
        surplus = len(hints) - len(later)
        if surplus < MANY:
            later, surplus = list(hints), 0
        now_ms = int(time.time() * 1000)
        for start in range(0, len(later) or 1, _CHUNK):
            arguments: list[Any] = [self._window, self._horizon_ms, _EXTRA_MS, 0 if start else surplus]
            for hint in later[start : start + _CHUNK]:
                due_in = int(-(-hint.due_in * 1_000_000 // 1))
                arguments += [str(hint.id), due_in, encode(hint.id, enqueued_ms=now_ms)]
            yield keys, arguments

    async def peek(self, queues: Sequence[str], n: int) -> Peeked:
        """What is due in `queues`, counted up to `n`."""
        keys = [key for queue in queues for key in (queue, f"{queue}:deep")]
        next_ms, *counts = await self._scripts["peek"](keys=keys, args=[n])
        return Peeked(dict(zip(queues, counts, strict=True)), None if next_ms < 0 else next_ms / 1000)

    async def ping(self) -> None:
        """Whether Redis answers; raises if it does not."""
        await self._redis.ping()

    async def take(self, queue: str, n: int) -> Taken:
        """Takes up to `n` due ids out of `queue`; malformed members are removed and counted."""
        try:
            deep, next_ms, *members = await self._scripts["take"](
                keys=[queue, f"{queue}:deep", f"{queue}:wake"], args=[n]
            )
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            # somebody else's value under our name: it is garbage, and would stop this queue's hints for ever
            await self._redis.unlink(queue, f"{queue}:wake")
            return Taken([], deep=False, next_in=None, malformed=1)
        ids = [UUID(bytes.decode(member)) for member in members if _UUID.match(member)]
        return Taken(ids, bool(deep), None if next_ms < 0 else next_ms / 1000, len(members) - len(ids))

    async def mark_deep(self, queue: str, tasks_hash: str) -> None:
        """Sets or renews the mark of a deep backlog and removes the due hints."""
        await self._scripts["mark_deep"](keys=[queue, f"{queue}:deep"], args=[tasks_hash, DEEP_MS])

    async def clear_deep(self, queue: str, tasks_hash: str) -> bool:
        """Clears the mark if it is a publisher's or this task set's. Whether it did."""
        return bool(await self._scripts["clear_deep"](keys=[f"{queue}:deep"], args=[tasks_hash]))

    async def announce_final(self, ids: Iterable[UUID]) -> None:
        """Tells whoever waits that these jobs are final."""
        await self._redis.publish(FINAL_CHANNEL, ",".join(map(str, ids)))
