"""Committing a batch: one transaction, all of it or nothing, under the keys of its items and of the whole.

A batch without any key is stored part by part while the rest is still being checked, in the transaction that ends as a
whole. With keys everything is checked first, because whoever meets one of them has to wait for this transaction.

Keys are taken in one order everywhere, (route, key), and those of the items come before that of the whole, so two batches
never wait for each other in a circle.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from db import failpoints, idempotency, jobs
from db.engine import CLIENT_TIMEOUT, Database, Link
from db.errors import BadRow, Locked
from db.idempotency import Claim, Held
from db.jobs import Accepted
from db.steady import steady
from service.http.problems import FieldError, Problem, invalid, unavailable
from service.submit.accepting import ROUNDS
from service.submit.preparing import Prepared
from service.submit.replays import SINGLE, in_flight, reused
from service.submit.submission import Submission

T = TypeVar("T")

BATCH = "POST /v1/jobs/batch"
"""The route that the key of a whole batch belongs to."""
AT_ONCE = 3
"""Batches that are stored at the same time. With all keyed single submits that may wait for a key (`service.submit.accepting`)
they leave one of a process's connections to everybody else."""
MAX_WAIT_SECONDS = CLIENT_TIMEOUT
"""How long a batch waits for its turn before it is refused: as long as a statement may take."""
RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """Ids in the order of the batch; `replayed` are those that an earlier request (or item) made."""

    ids: Sequence[UUID]
    replayed: frozenset[int]
    accepted: Sequence[Accepted]
    whole: bool = False
    """The whole batch was sent before under the same key."""


class _InsteadError(Exception):
    """Rolls a batch back, because it is answered otherwise."""

    def __init__(self, outcome: BatchOutcome | Problem) -> None:
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch to be committed, all or nothing. `key` and `content` are those of the whole."""

    submissions: Sequence[Submission]
    key: str | None
    content: Mapping[str, str]


class Batches:
    """Owned by a process: every batch goes through it. `hours` is how long keys are held."""

    def __init__(self, database: Database, *, hours: float) -> None:
        self._database = database
        self._hours = hours
        self._places = asyncio.Semaphore(AT_ONCE)

    async def accept_plain(self, tenant: str, prepared: Prepared) -> BatchOutcome:
        """Submits a batch without any key in one transaction. Raises Problem, and the errors of `db.errors`."""

        async def work(link: Link) -> list[Accepted]:
            return await _stored(link, tenant, prepared)

        try:
            accepted = await steady(lambda: self._committed(work))
        except BadRow as error:
            raise await _refused_rows(self._database, tenant, await prepared.all(), error) from None
        return BatchOutcome([one.job.id for one in prepared.submissions], frozenset(), accepted)

    async def accept_keyed(self, tenant: str, batch: Batch) -> BatchOutcome:
        """Submits a batch with keys in one transaction. Raises Problem, and the errors of `db.errors`."""

        async def work(link: Link) -> BatchOutcome:
            return await _commit_batch(link, tenant, batch, self._hours)

        try:
            return await self._committed(work)
        except _InsteadError as instead:
            if isinstance(instead.outcome, Problem):
                raise instead.outcome from None
            return instead.outcome
        except Locked:
            raise in_flight() from None
        except BadRow as error:
            raise await _refused_rows(self._database, tenant, batch.submissions, error) from None

    async def _committed(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """What `work` answers, in a transaction of its own. Nothing in `work` may ask for a second connection."""
        async with self._turn(), self._database.begin() as link:
            outcome = await work(link)
            await failpoints.reach("api.batch.committing")
        await failpoints.reach("api.batch.committed")
        return outcome

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise unavailable(
                "this server is storing as many batches as it can at once; nothing was written, send this again",
                retry_after=RETRY_SECONDS,
            ) from None
        try:
            yield
        finally:
            self._places.release()


async def _stored(link: Link, tenant: str, prepared: Prepared) -> list[Accepted]:
    """Stores part after part; while PostgreSQL has one, the next is prepared."""
    accepted: list[Accepted] = []
    storing: asyncio.Task[list[Accepted]] | None = None
    start = 0
    try:
        while part := await prepared.part(start):
            if storing is not None:
                accepted += await storing
            storing = asyncio.create_task(jobs.insert(link, tenant, [one.job for one in part]))
            await asyncio.sleep(0)  # it is on its way before the next part keeps this process busy
            start += len(part)
        return accepted if storing is None else accepted + await storing
    finally:
        if storing is not None:
            # A transaction cannot end under a statement; and what it failed with is said already, or is not the answer.
            await asyncio.gather(storing, return_exceptions=True)


async def _refused_rows(database: Database, tenant: str, submissions: Sequence[Submission], error: BadRow) -> Problem:
    positions = {one.job.id: index for index, one in enumerate(submissions)}
    found = await jobs.bad_rows(database, tenant, [one.job for one in submissions])
    return invalid(
        [
            FieldError(f"/jobs/{positions[job_id]}", f"cannot be stored: {why}", "not-storable")
            for job_id, why in found.items()
        ]
        or [FieldError("/jobs", f"cannot be stored: {error}", "not-storable")]
    )


async def _commit_batch(link: Link, tenant: str, batch: Batch, hours: float) -> BatchOutcome:
    await link.fetch("set_patience", patience=idempotency.PATIENCE)
    first = _first_of_key(batch.submissions)
    ids: list[UUID] = [batch.submissions[position].job.id for position in first]
    held = await _won_or_held(link, tenant, _item_claims(batch.submissions, first), hours)
    errors = []
    for position, one in enumerate(batch.submissions):
        holder = held.get((SINGLE, one.job.idempotency_key or ""))
        if holder is None:
            continue
        ids[position] = holder.job_ids[0]
        differs = idempotency.differing(holder.content, one.content)
        if differs:
            detail = f"was used for job {holder.job_ids[0]} with other content: {', '.join(differs[:5])}"
            errors.append(FieldError(f"/jobs/{position}/idempotency_key", detail, "idempotency-key-reused"))
    if errors:
        raise _InsteadError(invalid(errors))
    fresh = [one.job for position, one in enumerate(batch.submissions) if ids[position] == one.job.id]
    await _win_whole(link, tenant, batch, ids, hours)
    accepted: list[Accepted] = []
    for start in range(0, len(fresh), jobs.INSERT_CHUNK):
        accepted += await jobs.insert(link, tenant, fresh[start : start + jobs.INSERT_CHUNK])
    made = {job.id for job in fresh}
    replayed = frozenset(position for position, one in enumerate(batch.submissions) if one.job.id not in made)
    return BatchOutcome(ids, replayed, accepted)


def _first_of_key(submissions: Sequence[Submission]) -> list[int]:
    """For each item the position of the item that stands for it: the first with its key, mostly itself."""
    seen: dict[str, int] = {}
    first = []
    errors = []
    for position, one in enumerate(submissions):
        key = one.job.idempotency_key
        earlier = position if key is None else seen.setdefault(key, position)
        if submissions[earlier].content != one.content:
            detail = f"item {earlier} has the same key and other content"
            errors.append(FieldError(f"/jobs/{position}/idempotency_key", detail, "idempotency-key-reused"))
        first.append(earlier)
    if errors:
        raise _InsteadError(invalid(errors))
    return first


def _item_claims(submissions: Sequence[Submission], first: Sequence[int]) -> list[Claim]:
    return [
        Claim(SINGLE, one.job.idempotency_key, one.content, [one.job])
        for position, one in enumerate(submissions)
        if one.job.idempotency_key is not None and first[position] == position
    ]


async def _won_or_held(link: Link, tenant: str, claims: Sequence[Claim], hours: float) -> dict[tuple[str, str], Held]:
    """Wins what can be won, and returns who holds the rest."""
    held: dict[tuple[str, str], Held] = {}
    open_claims = list(claims)
    for _ in range(ROUNDS):
        if not open_claims:
            return held
        won = await idempotency.claim(link, tenant, open_claims, hours)
        lost = [claim for claim in open_claims if (claim.route, claim.key) not in won]
        pairs = [(claim.route, claim.key) for claim in lost]
        holders = await idempotency.held(link, tenant, pairs, hours) if pairs else {}
        expired = [pair for pair, holder in holders.items() if holder.expired]
        if expired:
            await idempotency.drop_expired(link, tenant, expired, hours)
        held |= {pair: holder for pair, holder in holders.items() if not holder.expired}
        open_claims = [claim for claim in lost if (claim.route, claim.key) not in held]
    if open_claims:
        raise _InsteadError(in_flight())
    return held


async def _win_whole(link: Link, tenant: str, batch: Batch, ids: Sequence[UUID], hours: float) -> None:
    """Wins the key of the whole batch, after those of its items: keys are always taken in that order."""
    if batch.key is None:
        return
    by_position = [one.job._replace(id=ids[position]) for position, one in enumerate(batch.submissions)]
    claim = Claim(BATCH, batch.key, batch.content, by_position)
    held = await _won_or_held(link, tenant, [claim], hours)
    holder = held.get((BATCH, batch.key))
    if holder is None:
        return
    differs = idempotency.differing(holder.content, batch.content)
    if differs:
        raise _InsteadError(reused(holder, differs))
    kept = BatchOutcome(holder.job_ids, frozenset(range(len(holder.job_ids))), [], whole=True)
    raise _InsteadError(kept)


def content_of_batch(sent: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the key of a batch stands for."""
    return idempotency.digests({"jobs": list(sent)})
