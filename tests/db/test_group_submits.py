"""The statements of a submit over the jobs of several requests: of several tenants, and with keys that meet."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from db import idempotency, jobs
from db.engine import Database
from db.errors import BadRow, Locked
from db.jobs import Accepted, NewJob
from tests.db.scene import Scene

ROUTE = "POST /v1/jobs"


def new(key: str | None = None, priority: str = "default") -> NewJob:
    return NewJob(
        id=uuid7(),
        task="report.build",
        pool="default",
        priority=priority,
        payload="{}",
        max_attempts=3,
        max_crashes=3,
        timeout=60.0,
        backoff="{}",
        idempotency_key=key,
    )


async def submit(database: Database, tenants: str | Sequence[str], made: Sequence[NewJob]) -> list[Accepted]:
    return await idempotency.submit(
        database.link, tenants, ROUTE, jobs=made, contents=[{"/n": str(n)} for n in range(len(made))], hours=24
    )


async def owners(scene: Scene, table: str = "jobs") -> dict[UUID, str]:
    return {row["id"]: row["tenant"] for row in await scene.ask(f"SELECT id, tenant FROM errander.{table}")}


async def test_each_job_belongs_to_its_own_tenant(scene: Scene, database: Database) -> None:
    made = [new() for _ in range(4)]
    await jobs.insert(database.link, ["a", "b", "a", "b"], made)
    wanted = {job.id: tenant for job, tenant in zip(made, "abab", strict=True)}
    assert await owners(scene) == wanted
    assert await owners(scene, "ready") == wanted
    await scene.check()


async def test_two_tenants_may_use_the_same_key(scene: Scene, database: Database) -> None:
    made = [new("k"), new("k")]
    assert len(await submit(database, ["a", "b"], made)) == 2
    assert await owners(scene) == {made[0].id: "a", made[1].id: "b"}
    for tenant, job in zip("ab", made, strict=True):
        (holder,) = (await idempotency.held(database.link, tenant, [(ROUTE, "k")], 24)).values()
        assert holder.job_ids == (job.id,)


@pytest.mark.parametrize("order", [1, -1])
async def test_of_two_jobs_with_one_key_the_earlier_is_made_with_its_content(
    scene: Scene, database: Database, order: int
) -> None:
    made = [new("k"), new("k"), new("other")][::order]
    first = min(job.id for job in made if job.idempotency_key == "k")
    won = await submit(database, "a", made)
    assert {row.id for row in won} == {first, *(job.id for job in made if job.idempotency_key == "other")}
    assert set(await owners(scene)) == {row.id for row in won}
    (holder,) = (await idempotency.held(database.link, "a", [(ROUTE, "k")], 24)).values()
    assert holder.job_ids == (first,)
    assert holder.content["/n"] == str([job.id for job in made].index(first))
    await scene.check()


async def test_a_held_key_makes_no_job_and_its_neighbours_are_made(scene: Scene, database: Database) -> None:
    held = new("k")
    await submit(database, "a", [held])
    made = [new("k"), new("l"), new("m")]
    assert {row.id for row in await submit(database, "a", made)} == {made[1].id, made[2].id}
    assert set(await owners(scene)) == {held.id, made[1].id, made[2].id}


async def test_submitting_a_group_again_makes_nothing(scene: Scene, database: Database) -> None:
    made = [new(f"k{n}") for n in range(10)]
    assert len(await submit(database, "a", made)) == 10
    assert await submit(database, "a", made) == []
    assert len(await owners(scene)) == 10


async def test_a_bad_row_stores_neither_jobs_nor_keys(scene: Scene, database: Database) -> None:
    with pytest.raises(BadRow):
        await submit(database, "a", [new("k"), new("l", priority="urgent")])
    assert await owners(scene) == {}
    assert await idempotency.held(database.link, "a", [(ROUTE, "k"), (ROUTE, "l")], 24) == {}


async def test_a_locked_key_locks_out_the_group_and_leaves_nothing_behind(scene: Scene, database: Database) -> None:
    async with database.begin() as link:
        await idempotency.claim(link, "a", [idempotency.Claim(ROUTE, "k", {}, [new("k")])], 24)
        with pytest.raises(Locked):
            await submit(database, "a", [new("j"), new("k"), new("l")])
        assert await owners(scene) == {}
        # the same key of another tenant is another key
        assert len(await submit(database, "b", [new("k")])) == 1


async def test_groups_with_the_same_keys_in_any_order_never_deadlock(scene: Scene, database: Database) -> None:
    keys = [f"k{n}" for n in range(50)]
    groups = [[new(key) for key in (keys if n % 2 else reversed(keys))] for n in range(12)]
    tenants = [["a" if n % 3 else "b" for n, _ in enumerate(keys)] for _ in groups]
    answers = await asyncio.gather(
        *(submit(database, owner, group) for owner, group in zip(tenants, groups, strict=True)), return_exceptions=True
    )
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    assert not any(isinstance(failure.__cause__, asyncpg.DeadlockDetectedError) for failure in failures)
    assert all(isinstance(failure, Locked) for failure in failures)
    made = await scene.ask("SELECT tenant, idempotency_key AS key, count(*) AS n FROM errander.jobs GROUP BY 1, 2")
    assert {row["n"] for row in made} == {1}
    await scene.check()
