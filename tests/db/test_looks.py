"""The statements that only look: what is due, when the next is, the horizon, and the verdict."""

from uuid import uuid4

import pytest

from db import attempts
from db.attempts import Verdict
from db.lifecycle import JobStatus
from tests.db.scene import POOL, TASK, Scene

PRIORITIES = ["high", "default", "low"]


async def due(scene: Scene, n: int = 10) -> dict[str, int]:
    return await attempts.due_by_head(scene.link, n, pool=POOL, priorities=PRIORITIES, tasks=[TASK, "b"])


async def next_due(scene: Scene) -> float | None:
    return await attempts.next_due(scene.link, pool=POOL, priorities=PRIORITIES, tasks=[TASK, "b"])


async def test_what_is_due_is_counted_for_each_queue_up_to_a_bound(scene: Scene) -> None:
    for _ in range(3):
        await scene.job(priority="high")
        await scene.job(priority="high", task="b")
    await scene.job(priority="low")
    await scene.job(priority="low", pool="gpu")
    await scene.job(priority="low", run_in=60.0)
    await scene.job(priority="low", expires_in=-1.0)
    await scene.job(priority="low", task="nobody.has")
    assert await due(scene) == {"high": 6, "default": 0, "low": 1}
    assert await due(scene, 4) == {"high": 4, "default": 0, "low": 1}


async def test_what_is_paused_is_not_due(scene: Scene) -> None:
    await scene.job(priority="high")
    await scene.job(priority="low", task="b")
    await scene.job(priority="low")
    await scene.link.fetch("pause_queue", pool=POOL, priority="high", reason=None)
    await scene.ask("INSERT INTO errander.task_pauses (task) VALUES ('b')")
    assert await due(scene) == {"high": 0, "default": 0, "low": 1}


async def test_the_next_due_time_is_the_earliest_of_all_queues_and_tasks(scene: Scene) -> None:
    assert await next_due(scene) is None
    await scene.job(run_in=-5.0)
    await scene.job(run_in=3.0, pool="gpu")
    await scene.job(run_in=3.0, task="nobody.has")
    assert await next_due(scene) is None
    await scene.job(run_in=50.0)
    await scene.job(run_in=20.0, priority="low", task="b")
    found = await next_due(scene)
    assert found is not None
    assert 19 < found <= 20


async def test_the_horizon_names_the_earliest_of_each_queue_that_a_live_worker_serves(scene: Scene) -> None:
    await scene.worker(priorities=["high", "default"])
    await scene.worker(pool="gpu", priorities=["low"], dead=True)
    await scene.ask(
        "INSERT INTO errander.tasks (name, schema_hash, payload_schema, defaults)"
        " VALUES ($1, 'h1', '{}', '{}'), ($1, 'h2', '{}', '{}'), ('b', 'h', '{}', '{}')",
        TASK,
    )
    soon = [await scene.job(run_in=10.0 + n, priority="high", task=("b", TASK)[n % 2]) for n in range(4)]
    other = await scene.job(run_in=30.0)
    await scene.job(run_in=120.0)
    await scene.job(run_in=-1.0)
    await scene.job(run_in=10.0, priority="low")
    await scene.job(run_in=10.0, priority="low", pool="gpu")

    rows = await attempts.horizon(scene.link, seconds=60.0, n=3)

    assert {row["id"] for row in rows} == {*soon[:3], other}
    assert all(0 < row["due_in"] <= 60 for row in rows)


@pytest.mark.parametrize("status", list(JobStatus))
async def test_the_verdict_says_where_a_job_stands(scene: Scene, status: JobStatus) -> None:
    worker, other = await scene.worker(), await scene.worker(tasks=["b"])
    job = await scene.job(status, worker=other if status is JobStatus.RUNNING else None, attempt=2, task="b")
    (found,) = (await ask(scene, worker, job)).values()
    assert (found.id, found.status, found.attempt) == (job, status, 2)
    assert found.waits == (status in (JobStatus.PENDING, JobStatus.RETRYING))
    assert (found.mine, found.served, found.served_elsewhere, found.alive) == (True, False, True, True)
    assert found.worker_id == (other if status is JobStatus.RUNNING else None)


async def ask(scene: Scene, worker: object, *ids: object) -> dict[object, Verdict]:
    found = await attempts.verdict(
        scene.link,
        ids,  # type: ignore[arg-type]  # ids of any origin
        worker=worker,  # type: ignore[arg-type]
        lease=30.0,
        pool=POOL,
        tasks=[TASK],
    )
    return dict(found.items())


async def test_an_unknown_id_has_no_verdict(scene: Scene) -> None:
    assert await ask(scene, await scene.worker(), uuid4()) == {}


async def test_an_early_job_says_for_how_long(scene: Scene) -> None:
    job = await scene.job(run_in=25.0)
    found = (await ask(scene, await scene.worker(), job))[job]
    assert found.due_in is not None
    assert 24 < found.due_in <= 25
    assert not found.claimable


async def test_a_locked_job_is_told_by_being_claimable(scene: Scene) -> None:
    worker, other = await scene.worker(), await scene.worker()
    job = await scene.job()
    async with scene.database.begin() as link:
        await scene.claim(other, job, link=link)
        found = (await ask(scene, worker, job))[job]
    assert (found.status, found.claimable) == (JobStatus.PENDING, True)


@pytest.mark.parametrize(
    ("like", "elsewhere"),
    [
        ({"tasks": ["b"]}, True),
        ({"tasks": ["c"]}, False),
        ({"tasks": ["b"], "dead": True}, False),
        ({"tasks": ["b"], "beat_ago": 31.0}, False),
        ({"tasks": ["b"], "pool": "gpu"}, False),
        ({"tasks": ["b"], "priorities": ["low"]}, False),
    ],
)
async def test_another_worker_counts_only_if_it_could_run_the_job_now(
    scene: Scene, like: dict[str, object], elsewhere: bool
) -> None:
    worker = await scene.worker()
    await scene.worker(**like)  # type: ignore[arg-type]
    job = await scene.job(task="b")
    found = (await ask(scene, worker, job))[job]
    assert (found.served, found.served_elsewhere) == (False, elsewhere)
