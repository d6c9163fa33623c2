"""Committing single submits: those that arrive together share a commit.

Unkeyed and keyed ones never share one with each other. A submit under a key may wait for whoever is storing the same
key, in another process or in a batch, and strangers must not wait with it: so keyed ones have commits of their own, such
a wait ends after `db.idempotency.PATIENCE`, and then each of the group is tried alone.

Every id is made before its commit, so a commit whose answer was lost can be sent again: what is there already is found.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from db import failpoints, idempotency, jobs
from db.engine import Database
from db.errors import Locked, Unavailable
from db.jobs import Accepted, NewJob
from db.records import JobRecord
from db.steady import connection_lost, steady
from service.submit.group_commit import GroupCommit
from service.submit.replays import SINGLE, in_flight, kept_answer
from service.submit.submission import Submission
from workers.hints import Hint
from workers.publisher import Publisher

Item = tuple[str, Submission]
"""A tenant, and what it submits."""

ROUNDS = 3
"""A key may be released between losing it and looking who holds it; then it is tried again."""
KEYED_IN_FLIGHT = 2
"""While one commit of keyed submits waits for somebody's key, another goes on."""
ALONE = 4
"""Submits tried alone at the same time: each may hold a connection for as long as it waits for its key."""


class Accepting:
    """Owned by a process: every single submit goes through it. `hours` is how long keys are held."""

    def __init__(self, database: Database, publisher: Publisher, *, hours: float) -> None:
        self._database = database
        self._publisher = publisher
        self._hours = hours
        self.unkeyed = GroupCommit(self._insert, size=_size)
        self.keyed = GroupCommit(self._win, size=_size, in_flight=KEYED_IN_FLIGHT)
        self._alone = asyncio.Semaphore(ALONE)
        self._turns: dict[tuple[str, str], asyncio.Future[bool]] = {}

    async def accept(self, tenant: str, submission: Submission) -> Accepted:
        """Submits one job without a key. Raises BadRow, Locked, Unavailable."""
        accepted = await self.unkeyed.submit((tenant, submission))
        return accepted or await self._made_before(tenant, submission.job.id)

    async def accept_keyed(self, tenant: str, submission: Submission) -> Accepted | JobRecord:
        """Submits one job under its key, or finds the job that the key made, as it was answered then.

        Raises Problem `idempotency-key-reused` or `idempotency-in-flight`, and the errors of `db.errors`.
        """
        for _ in range(ROUNDS):
            accepted = await self._in_turn(tenant, submission)
            found = accepted or await kept_answer(self._database, tenant, submission, self._hours)
            if found is not None:
                return found
        raise in_flight()

    async def stop(self) -> None:
        """Returns when everything taken is committed or refused."""
        await self.unkeyed.stop()
        await self.keyed.stop()

    async def _in_turn(self, tenant: str, submission: Submission) -> Accepted | None:
        """Wins the key, or waits for whoever is just trying to in this process; None if this submit did not win it."""
        pair = (tenant, str(submission.job.idempotency_key))
        before = self._turns.get(pair)
        if before is not None:
            await asyncio.wait([before])
            if not before.result():
                raise in_flight()  # it was locked out, and so would this one be, after waiting as long again
            return None
        turn = self._turns[pair] = asyncio.get_running_loop().create_future()
        reached = True
        try:
            return await self._win_or_lose(tenant, submission)
        except Locked:
            reached = False
            raise in_flight() from None
        finally:
            del self._turns[pair]
            turn.set_result(reached)

    async def _win_or_lose(self, tenant: str, submission: Submission) -> Accepted | None:
        try:
            return await self.keyed.submit((tenant, submission))
        except Locked:
            async with self._alone:
                (accepted,) = await self._win([(tenant, submission)])
                return accepted

    async def _insert(self, group: Sequence[Item]) -> list[Accepted | None]:
        """For each what was accepted, or None where an earlier try of ours had inserted it already."""
        tenants, new = [tenant for tenant, _ in group], [submission.job for _, submission in group]

        async def step() -> list[Accepted]:
            await failpoints.reach("api.unkeyed.committing")
            made = await jobs.insert(self._database.link, tenants, new)
            await failpoints.reach("api.unkeyed.committed")
            return made

        return self._published(new, await steady(step, repeatable=True))

    async def _made_before(self, tenant: str, job_id: UUID) -> Accepted:
        # The statement had been committed when the connection broke: this id is nobody else's.
        record = await jobs.get(self._database.link, tenant, job_id)
        if record is None:
            raise Unavailable(f"job {job_id} was inserted and is gone")
        return Accepted(record.id, record.run_at, record.created_at, record.expires_at, 0.0)

    async def _win(self, group: Sequence[Item]) -> list[Accepted | None]:
        """For each what was accepted, or None where its key is held: by somebody else, or by an earlier try of ours."""
        tenants, new = [tenant for tenant, _ in group], [submission.job for _, submission in group]
        contents = [submission.content for _, submission in group]

        async def step() -> list[Accepted]:
            await failpoints.reach("api.keyed.committing")
            made = await idempotency.submit(
                self._database.link, tenants, SINGLE, jobs=new, contents=contents, hours=self._hours
            )
            await failpoints.reach("api.keyed.committed")
            return made

        try:
            made = await step()
        except Unavailable as error:
            if not connection_lost(error):
                raise
            made = await step()
        return self._published(new, made)

    def _published(self, new: Sequence[NewJob], made: Sequence[Accepted]) -> list[Accepted | None]:
        """Hints at the jobs that were made, once for all of them; never waits."""
        by_id = {one.id: one for one in made}
        found = [by_id.get(job.id) for job in new]
        failpoints.hit("api.publishing")
        self._publisher.offer(
            [Hint(job.id, job.pool, job.priority, one.due_in) for job, one in zip(new, found, strict=True) if one]
        )
        return found


def _size(item: Item) -> int:
    """About how many bytes its rows take on the wire."""
    job = item[1].job
    return 500 + len(job.payload) + len(job.metadata) + len(job.tags)
