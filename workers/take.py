"""Filling free slots: the two ways to a claim.

By hint: take due ids out of Redis, claim them by id. By head: claim what is due first straight from PostgreSQL. A
queue that is marked deep is served by head alone, and at least once a second every queue is, even while hints would
fill every slot, so that a job without a hint never starves behind newer ones. Redis away means by head alone.

Owns which queue gets which slots, and what becomes of ids that were not won. Never runs a job.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from db import attempts, failpoints
from db.attempts import Claimed, Verdict
from db.engine import Link
from db.lifecycle import CLAIMABLE
from workers.cancelling import cancel_and_wait
from workers.hints import Hint, Hints, queue_name
from workers.lease import Lease
from workers.publisher import Publisher
from workers.weights import WEIGHTS, Shares

_log = structlog.get_logger("errander.take")

LOCKED_SECONDS = 1.0
"""How far ahead an id goes back whose row was locked, or whose task another worker has."""
PROBE_SECONDS = 0.5
"""How often Redis is asked whether it is back."""
RENEW_SECONDS = 0.5
"""How often the mark of a deep backlog is renewed: it lasts four times as long."""
BARREN_SECONDS = (0.005, 0.2)
"""Before a head is claimed again of which nothing could be won: doubled each time, from the first to the second."""
MISSED_SECONDS = 0.005
"""Before the head is claimed again for a job that fell due while it was being claimed."""
_SUM_OF_WEIGHTS = sum(WEIGHTS.values())
DEEP_FROM = 32
"""A full head claim of at least this many says that the backlog is deep; a smaller one says little."""
_BARREN_FOR_A_BEAT = 2  # heads in a row of which nothing was won


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves."""

    worker: UUID
    pool: str
    priorities: tuple[str, ...]
    tasks: list[str]
    tasks_hash: str


@dataclass(slots=True)
class Asked:
    """A claim under way; `won` is set once it has been answered."""

    won: Sequence[Claimed] = ()


class Ended(Protocol):
    """Takes the end of the claim of a number: what it won, and whether it is not known what it won."""

    def __call__(self, number: int, won: Sequence[Claimed], /, *, ambiguous: bool) -> None:
        """Once a claim."""


class Claims:
    """How a claim is reported to whoever holds its jobs: begun before it is sent, ended with what it won."""

    def __init__(self, begin: Callable[[], int], end: Ended) -> None:
        self._begin = begin
        self._end = end

    @contextmanager
    def asked(self) -> Iterator[Asked]:
        """Around one claim. Left by an error, it is not known what the claim won."""
        number = self._begin()
        asked, ambiguous = Asked(), True
        try:
            yield asked
            ambiguous = False
        finally:
            self._end(number, asked.won, ambiguous=ambiguous)


class Taker:
    """One process's taking. `take` is called by one task at a time."""

    def __init__(
        self,
        link: Link,
        hints: Hints,
        publisher: Publisher,
        *,
        served: Served,
        lease: Lease,
        claims: Claims,
        head_seconds: float,
        beat_soon: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._hints = hints
        self._publisher = publisher
        self._served = served
        self._lease = lease
        self._claims = claims
        self._head_seconds = head_seconds
        self._beat_soon = beat_soon
        self._queues = {priority: queue_name(served.pool, priority) for priority in served.priorities}
        self._shares = Shares()
        self._next_head = dict.fromkeys(served.priorities, 0.0)
        self._marked = dict.fromkeys(served.priorities, 0.0)
        self._barren = dict.fromkeys(served.priorities, 0)
        self._next_hint: float | None = None
        self._probe: asyncio.Task[None] | None = None
        self.redis_away = False
        """The last call of Redis failed."""
        self._short: set[str] = set()

    async def take(self, slots: int, woken_by: str | None = None) -> int:
        """Claims up to `slots` jobs; the number won. Raises DatabaseError.

        A worker that was idle is `woken_by` a priority, and looks there first, for no more than even the lightest queue's
        share of its slots: what else is due there waits for its weight beside the other queues, at once after.
        """
        if woken_by is not None and not self.redis_away:
            won = await self._by_hint(woken_by, max(1, slots // _SUM_OF_WEIGHTS))
            if won:
                self._short.clear()
                return won
        now = time.monotonic()
        by_head = [priority for priority in self._served.priorities if self._next_head[priority] <= now]
        heads = frozenset(by_head)
        due = await self._peek([priority for priority in self._served.priorities if priority not in heads], slots)
        if len(by_head) > 1:
            due |= await attempts.due_by_head(
                self._link, slots, pool=self._served.pool, priorities=by_head, tasks=self._served.tasks
            )
        elif by_head:
            due[by_head[0]] = slots  # mostly one that was full a moment ago; if it is not, the next take knows
        found = {priority: count for priority, count in due.items() if count > 0}
        shares = self._shares.allot(slots, found)
        won = 0
        for priority in self._served.priorities:
            share = shares.get(priority, 0)
            if priority in heads:
                won += await self._by_head(priority, share, known_due=due[priority])
            elif share:
                won += await self._by_hint(priority, share)
        if won:
            self._short.clear()
        return won

    @property
    def idle(self) -> bool:
        """Whether every queue's head has been found empty since anything was won."""
        return len(self._short) == len(self._queues)

    def wait_seconds(self) -> float:
        """How long an idle worker may sleep unless it is woken."""
        now = time.monotonic()
        until = min(self._next_head.values())
        if self._next_hint is not None:
            until = min(until, self._next_hint)
        return max(0.0, until - now)

    async def _peek(self, priorities: Sequence[str], slots: int) -> dict[str, int]:
        """Priority → how much is due by hint; -1 where that queue is deep, or nothing can be known."""
        if self.redis_away:
            self._probe_soon()
            return dict.fromkeys(priorities, -1)
        if len(self._queues) == 1 or not priorities:
            return dict.fromkeys(priorities, slots)  # the take itself will tell
        try:
            peeked = await self._hints.peek([self._queues[priority] for priority in priorities], slots)
        except (RedisError, OSError) as error:
            self.note_redis_away(repr(error))
            return dict.fromkeys(priorities, -1)
        self._note_next_hint(peeked.next_in)
        return {priority: peeked.due[self._queues[priority]] for priority in priorities}

    def _note_next_hint(self, next_in: float | None) -> None:
        self._next_hint = None if next_in is None else time.monotonic() + next_in

    def note_redis_away(self, reason: str) -> None:
        """Redis does not answer: until it does again, everything is claimed by head."""
        if not self.redis_away:
            _log.warning("take.redis_away", reason=reason, hint="claiming from PostgreSQL alone")
        self.redis_away = True
        self._next_hint = None

    def _probe_soon(self) -> None:
        """Asks beside the takes whether Redis is back, so that none of them waits for its timeout."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask_redis(), name="errander.redis_probe")

    async def _ask_redis(self) -> None:
        try:
            await asyncio.sleep(PROBE_SECONDS)
            await self._hints.ping()
        except (RedisError, OSError):
            return
        self.redis_away = False
        _log.info("take.redis_back")

    async def stop(self) -> None:
        """Ends what this owns."""
        await cancel_and_wait(self._probe)

    # -- by hint -----------------------------------------------------------------------------------------------------

    async def _by_hint(self, priority: str, share: int) -> int:
        try:
            await failpoints.reach("take.popping")
            taken = await self._hints.take(self._queues[priority], share)
            await failpoints.reach("take.popped")
        except (RedisError, OSError) as error:
            self.note_redis_away(repr(error))
            return 0
        if taken.malformed:
            _log.warning("take.malformed", queue=self._queues[priority], members=taken.malformed)
        self._note_next_hint(taken.next_in)
        if not taken.ids:
            return 0
        won = await self._claim_ids(taken.ids)
        ids = {job.id for job in won}
        missing = [job_id for job_id in taken.ids if job_id not in ids]
        if missing:
            is_cut = sum(len(job.payload.encode()) for job in won) >= attempts.MOST_BYTES
            await self._judge(missing, priority, again_in=0.0 if is_cut else LOCKED_SECONDS)
        return len(won)

    async def _claim_ids(self, ids: list[UUID]) -> list[Claimed]:
        with self._claims.asked() as asked:
            await failpoints.reach("claim.by_id.sending")
            jobs = await attempts.claim_by_id(
                self._link,
                ids,
                worker=self._served.worker,
                lease=self._lease.seconds,
                pool=self._served.pool,
                tasks=self._served.tasks,
            )
            await failpoints.reach("claim.by_id.committed")
            asked.won = jobs
        return jobs

    async def _judge(self, ids: list[UUID], priority: str, *, again_in: float) -> None:
        """One query tells what became of ids that were not won; those that may be won later go back."""
        await failpoints.reach("claim.judging")
        verdicts = await attempts.verdict(
            self._link,
            ids,
            worker=self._served.worker,
            lease=self._lease.seconds,
            pool=self._served.pool,
            tasks=self._served.tasks,
        )
        again = [
            Hint(job_id, self._served.pool, priority, delay)
            for job_id, verdict in verdicts.items()
            if (delay := back_in(verdict, again_in)) is not None
        ]
        if any(verdict.status in CLAIMABLE and not verdict.alive for verdict in verdicts.values()):
            self._beat_soon()
        if again:
            self._publisher.offer(again)

    # -- by head -----------------------------------------------------------------------------------------------------

    async def _by_head(self, priority: str, share: int, *, known_due: int) -> int:
        """Claims the head of a queue; sets when to do so again."""
        if share == 0:
            # Nothing is due there, or the others have all the slots: then it is asked again when slots are free.
            return await self._head_was_short(priority, 0) if known_due <= 0 else 0
        head = await self._claim_head(priority, share)
        won = len(head.jobs)
        step_aside = self._barren_pause(priority, is_barren=bool(head.seen and not won))
        if head.seen < share:
            return won + await self._head_was_short(priority, share - won)
        if share >= DEEP_FROM:
            await self._mark_deep(priority)
        self._next_head[priority] = time.monotonic() + step_aside  # full: there is more
        return won

    def _barren_pause(self, priority: str, *, is_barren: bool) -> float:
        """Seconds to step aside from a head of which jobs were seen and none was won.

        Others are at the same head, so it is left to them for a moment. Again and again: this worker's own row is not
        fresh by the database's clock, which a beat mends, or what stands there can be won by nobody.
        """
        if not is_barren:
            self._barren[priority] = 0
            return 0.0
        least, most = BARREN_SECONDS
        self._barren[priority] += 1
        if self._barren[priority] == _BARREN_FOR_A_BEAT:
            self._beat_soon()
        return random.uniform(0.2, 1.0) * min(most, least * 2.0 ** min(self._barren[priority] - 1, 10))

    async def _claim_head(self, priority: str, share: int) -> attempts.Head:
        with self._claims.asked() as asked:
            await failpoints.reach("claim.by_head.sending")
            head = await attempts.claim_by_head(
                self._link,
                share,
                worker=self._served.worker,
                lease=self._lease.seconds,
                pool=self._served.pool,
                priority=priority,
                tasks=self._served.tasks,
            )
            await failpoints.reach("claim.by_head.committed")
            asked.won = head.jobs
        return head

    async def _head_was_short(self, priority: str, free: int) -> int:
        """The queue has been emptied: ends its mark, and looks once more for what was committed unpublished meanwhile."""
        if await self._clear_deep(priority) and free:
            return await self._by_head(priority, free, known_due=free)
        self._short.add(priority)
        pause = self._head_seconds * random.uniform(0.5, 1.0)
        due_in = await attempts.next_due(
            self._link, pool=self._served.pool, priorities=[priority], tasks=self._served.tasks
        )
        if due_in is not None:
            pause = min(pause, max(MISSED_SECONDS, due_in))
        self._next_head[priority] = time.monotonic() + pause
        return 0

    async def _mark_deep(self, priority: str) -> None:
        now = time.monotonic()
        if self.redis_away or now < self._marked[priority] + RENEW_SECONDS:
            return
        self._marked[priority] = now
        try:
            await self._hints.mark_deep(self._queues[priority], self._served.tasks_hash)
        except (RedisError, OSError) as error:
            self.note_redis_away(repr(error))

    async def _clear_deep(self, priority: str) -> bool:
        if self.redis_away:
            return False
        self._marked[priority] = 0.0
        try:
            return await self._hints.clear_deep(self._queues[priority], self._served.tasks_hash)
        except (RedisError, OSError) as error:
            self.note_redis_away(repr(error))
            return False


def back_in(verdict: Verdict, again_in: float = LOCKED_SECONDS) -> float | None:
    """Seconds after which an id that was not won is worth trying again; None: drop it. It starts nothing itself.

    `again_in` for one with which nothing is wrong: its row was locked, or the claim was full of large payloads.
    """
    if verdict.status not in CLAIMABLE or not verdict.waits or not verdict.mine:
        return None  # final, WAITING, RUNNING (ours too), or another pool's
    if not verdict.alive:
        return LOCKED_SECONDS  # nothing was wrong with the job: it was our own row that is not fresh
    if not verdict.served:
        return LOCKED_SECONDS if verdict.served_elsewhere else None
    if verdict.due_in is not None and verdict.due_in > 0:
        return verdict.due_in
    return again_in if verdict.claimable else None  # else paused or expired
