"""Group commit of outcomes: what ends while one flush is under way goes into the next.

Every outcome stays held until PostgreSQL has confirmed or refused it, and is tried for as long as the process lives.
A flush that fails on data is split until the bad row stands alone; that one is finished as FAILED. A row that a
statement left out is asked for once: an earlier try of ours won (its answer was lost), another attempt holds it (stale:
dropped), or it was locked (next flush).
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, assert_never, cast
from uuid import UUID

import structlog

from db import attempts, failpoints
from db.attempts import Moved
from db.engine import Link
from db.errors import BadRow, DatabaseError
from db.lifecycle import FINAL, ErrorKind, JobStatus
from errander import BackoffInvalid, Exponential, parse_backoff
from workers.attempt import Attempt
from workers.cancelling import cancel_and_wait
from workers.held import Held
from workers.hints import Hint
from workers.outcomes import Cancelled, Crashed, Failed, GivenBack, Outcome, Snoozed, Succeeded, error_entry
from workers.progress import ProgressBoard
from workers.publisher import Publisher

_log = structlog.get_logger("errander.flush")

MAX_ROWS = 500
MAX_BYTES = 4 * 1024 * 1024
_RETRY_SECONDS = (0.1, 2.0)  # the first and the longest wait after PostgreSQL did not answer
_LOCKED_SECONDS = 0.05  # before a row that was locked is tried again


EndedT_co = TypeVar("EndedT_co", bound=Outcome, covariant=True)


@dataclass(frozen=True, slots=True)
class Item(Generic[EndedT_co]):
    """An attempt and what it ended with."""

    attempt: Attempt
    outcome: EndedT_co
    ahead: float = 0.0
    """The job does not start again sooner than in so many seconds, whatever its backoff says."""

    @property
    def size(self) -> int:
        """About how many bytes its row takes on the wire."""
        return 200 + (len(self.outcome.result) if isinstance(self.outcome, Succeeded) else 0)


class Flush:
    """Owned by one process. `add` on the job loop; `write` also from the control thread when the loop is blocked."""

    def __init__(
        self, link: Link, worker: UUID, held: Held, *, publisher: Publisher | None, progress: ProgressBoard | None
    ) -> None:
        self._link = link
        self._worker = worker
        self._held = held
        self._publisher = publisher
        self._progress = progress
        self._waiting: list[Item[Outcome]] = []
        self._writing: list[Item[Outcome]] = []
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self.on_room: Callable[[], None] = lambda: None
        """Called after each flush: there is room for more."""
        self.failing = False
        """The last try did not reach PostgreSQL."""

    @property
    def unconfirmed(self) -> int:
        """Outcomes that are not confirmed yet."""
        return len(self._waiting) + len(self._writing)

    def start(self) -> None:
        """Starts the one task that writes."""
        self._task = asyncio.create_task(self._run(), name="errander.flush")

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        """Takes an outcome; it is written in the next flush."""
        self._waiting.append(Item(attempt, outcome))
        self._idle.clear()
        self._news.set()

    async def settle(self) -> None:
        """Returns when everything taken so far is confirmed or refused."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Ends the task; what is not confirmed stays held."""
        await cancel_and_wait(self._task)

    async def _run(self) -> None:
        pause = _RETRY_SECONDS[0]
        while True:
            if not self._waiting and not self._writing:
                self._idle.set()
                await self._news.wait()
            self._news.clear()
            if not self._writing:
                self._writing = self._next_batch()
            try:
                locked = await self.write(self._link, self._writing)
            except Exception as error:  # whatever it is: outcomes are tried for as long as the process lives
                if not self.failing:
                    known = isinstance(error, DatabaseError)
                    _log.warning("flush.unavailable", error=repr(error), outcomes=self.unconfirmed, exc_info=not known)
                self.failing = True
                await asyncio.sleep(pause * (0.5 + random.random() / 2))
                pause = min(pause * 2, _RETRY_SECONDS[1])
                continue
            self.failing, pause = False, _RETRY_SECONDS[0]
            self._writing = []
            self.on_room()
            if locked:
                self._waiting.extend(locked)
                await asyncio.sleep(_LOCKED_SECONDS)

    def _next_batch(self) -> list[Item[Outcome]]:
        size = count = 0
        ids: set[UUID] = set()
        for item in self._waiting:
            size += item.size
            # two attempts of one job (the answer to the first was lost) never share a statement
            if count and (count >= MAX_ROWS or size > MAX_BYTES or item.attempt.id in ids):
                break
            ids.add(item.attempt.id)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def write(self, link: Link, items: Sequence[Item[Outcome]]) -> list[Item[Outcome]]:
        """Writes outcomes, one statement a kind; those that were locked come back. Raises DatabaseError."""
        if self._progress is not None and self._progress.dirty:
            await self._progress.write(link, self._worker)  # the last word of a job that is about to end
        locked: list[Item[Outcome]] = []
        by_kind: dict[type[Outcome], list[Item[Outcome]]] = {}
        for item in items:
            by_kind.setdefault(type(item.outcome), []).append(item)
        for group in by_kind.values():
            locked += await self._write_kind(link, group)
        return locked

    async def _write_kind(self, link: Link, items: Sequence[Item[Outcome]]) -> list[Item[Outcome]]:
        try:
            await failpoints.reach("flush.sending")
            moved = await _take_edge(link, self._worker, items)
            await failpoints.reach("flush.committed")
        except BadRow as error:
            if len(items) > 1:
                half = len(items) // 2
                return await self._write_kind(link, items[:half]) + await self._write_kind(link, items[half:])
            return await self._write_bad(link, items[0], error)
        missing = {item.attempt.id: item for item in items}
        self._confirm([(missing.pop(row.id).attempt, row) for row in moved])
        await failpoints.reach("flush.confirmed")
        return await self._ask(link, missing) if missing else []

    async def _write_bad(self, link: Link, item: Item[Outcome], error: BadRow) -> list[Item[Outcome]]:
        # only what kind of refusal it was: the server's words may hold the result, or the whole row
        kind = type(error.__cause__ or error).__name__
        _log.error("flush.bad_row", job_id=str(item.attempt.id), attempt=item.attempt.number, error=kind)
        if isinstance(item.outcome, Failed) and item.outcome.kind is ErrorKind.RESULT and item.outcome.final:
            raise error  # already the plainest row there is
        plain = Failed(ErrorKind.RESULT, "ResultRefused", "what it ended with cannot be stored", final=True, defer=0.0)
        return await self._write_kind(link, [Item(item.attempt, plain)])

    async def _ask(self, link: Link, missing: dict[UUID, Item[Outcome]]) -> list[Item[Outcome]]:
        verdicts = await attempts.verdict(link, list(missing), worker=self._worker, lease=1.0, pool="", tasks=[])
        locked: list[Item[Outcome]] = []
        for job_id, item in missing.items():
            found = verdicts.get(job_id)
            ours = found is not None and (found.attempt, found.worker_id) == (item.attempt.number, self._worker)
            if ours and found is not None and found.status is JobStatus.RUNNING:
                locked.append(item)
                continue
            if not ours:
                _log.warning("flush.stale", job_id=str(job_id), attempt=item.attempt.number)
            self._held.release([item.attempt])
        return locked

    def _confirm(self, moved: Sequence[tuple[Attempt, Moved]]) -> None:
        self._held.release(attempt for attempt, _ in moved)
        if self._publisher is None:
            return
        rows = [row for _, row in moved]
        again = [Hint(row.id, row.pool, row.priority, row.due_in) for row in rows if row.due_in is not None]
        if again:
            self._publisher.offer(again)
        self._publisher.offer_final([row.id for row in rows if row.status in FINAL])


async def _take_edge(link: Link, worker: UUID, items: Sequence[Item[Outcome]]) -> list[Moved]:
    """Writes outcomes that are all of one kind, by the edge which that kind takes."""
    match items[0].outcome:
        case Succeeded():
            return await _succeed(link, worker, cast("Sequence[Item[Succeeded]]", items))
        case Failed():
            return await _fail(link, worker, cast("Sequence[Item[Failed]]", items))
        case Crashed():
            return await _crash(link, worker, cast("Sequence[Item[Crashed]]", items))
        case Snoozed():
            return await _snooze(link, worker, cast("Sequence[Item[Snoozed]]", items))
        case Cancelled():
            return await _cancel(link, worker, cast("Sequence[Item[Cancelled]]", items))
        case GivenBack():
            return await _give_back(link, worker, cast("Sequence[Item[GivenBack]]", items))
        case unknown:
            assert_never(unknown)


async def _succeed(link: Link, worker: UUID, items: Sequence[Item[Succeeded]]) -> list[Moved]:
    return await attempts.succeed(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        results=[item.outcome.result for item in items],
    )


async def _fail(link: Link, worker: UUID, items: Sequence[Item[Failed]]) -> list[Moved]:
    return await attempts.fail(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        errors=[error_entry(item.outcome) for item in items],
        delays=[_delay(item, item.attempt.job.failures + 1) for item in items],
        finals=[item.outcome.final for item in items],
    )


async def _crash(link: Link, worker: UUID, items: Sequence[Item[Crashed]]) -> list[Moved]:
    return await attempts.crash(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        errors=[error_entry(item.outcome) for item in items],
        delays=[_delay(item, item.attempt.job.crashes + 1) for item in items],
    )


async def _snooze(link: Link, worker: UUID, items: Sequence[Item[Snoozed]]) -> list[Moved]:
    return await attempts.snooze(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        delays=[item.outcome.defer for item in items],
    )


async def _cancel(link: Link, worker: UUID, items: Sequence[Item[Cancelled]]) -> list[Moved]:
    return await attempts.cancel_running(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        by=[str(item.outcome.by) for item in items],
        reasons=[item.outcome.reason for item in items],
    )


async def _give_back(link: Link, worker: UUID, items: Sequence[Item[GivenBack]]) -> list[Moved]:
    return await attempts.give_back(
        link,
        worker=worker,
        ids=_ids(items),
        attempts=_numbers(items),
        begun=[item.outcome.begun for item in items],
        delays=[item.outcome.delay for item in items],
        reasons=[item.outcome.reason for item in items],
    )


def _ids(items: Sequence[Item[Outcome]]) -> list[UUID]:
    return [item.attempt.id for item in items]


def _numbers(items: Sequence[Item[Outcome]]) -> list[int]:
    return [item.attempt.number for item in items]


def _delay(item: Item[Failed | Crashed], tries: int) -> float:
    return max(item.ahead, _backoff(item, tries))


def _backoff(item: Item[Failed | Crashed], tries: int) -> float:
    outcome = item.outcome
    if isinstance(outcome, Failed) and outcome.defer is not None:
        return outcome.defer
    try:
        backoff = parse_backoff(json.loads(item.attempt.job.backoff))
    except (BackoffInvalid, ValueError, TypeError) as error:  # its neighbours in this flush must not pay for it
        _log.warning("flush.bad_backoff", job_id=str(item.attempt.id), error=str(error))
        backoff = Exponential()
    return backoff.delay(tries, random.random)
