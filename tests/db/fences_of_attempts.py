"""What goes wrong when a statement about running attempts loses one of its conditions: the worker's, and the reaper's."""

from typing import Any
from uuid import UUID, uuid4

from db import workers
from db.workers import Beat
from tests.db.fence import Fence, Play
from tests.db.racing import AFTER_DEAD, Gate, impatient
from tests.db.scene import FINISHES, Scene
from tests.fixtures.waiting import eventually

# -- what a worker says of its own attempts --------------------------------------------------------------------------


async def _outcome(scene: Scene, job: UUID) -> tuple[Any, ...]:
    row = await scene.row(job)
    return row["status"], row["attempt"], row["progress"]


def _stale(statement: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        worker = await scene.worker()
        job = await scene.job("RUNNING", worker=worker, attempt=2)
        await scene.finish(statement, worker, (job, 1))
        return await _outcome(scene, job)

    return play


def _by_another(statement: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        job = await scene.job("RUNNING", worker=await scene.worker(), attempt=2)
        await scene.finish(statement, await scene.worker(), (job, 2))
        return await _outcome(scene, job)

    return play


def _after_the_end(statement: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        worker = await scene.worker()
        # the reply of the first finish was lost; the second finds a job that waits again, or is final
        ended = "FAILED" if statement == "succeed" else "SUCCESS"
        job = await scene.job(ended, worker=worker, attempt=2)
        await scene.finish(statement, worker, (job, 2))
        return await _outcome(scene, job) == (ended, 2, None)

    return play


def _beside_a_locked_one(statement: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        worker = await scene.worker()
        locked, free = [await scene.job("RUNNING", worker=worker) for _ in range(2)]
        async with scene.database.begin() as other, scene.database.begin() as link:
            await other.fetch("lock_jobs", ids=[locked], tenant="default")
            await impatient(link)
            await scene.finish(statement, worker, (locked, 1), (free, 1), link=link)
        return True

    return play


def _of_a_finish(statement: str) -> list[Fence]:
    right = ("RUNNING", 2, None)
    return [
        Fence(statement, "j.attempt = i.attempt AND ", "", _stale(statement), right),
        Fence(
            statement,
            "j.worker_id = CAST(:worker AS uuid) AND",
            "CAST(:worker AS uuid) IS NOT NULL AND",
            _by_another(statement),
            right,
        ),
        Fence(statement, "AND j.status || '' = 'RUNNING'", "", _after_the_end(statement), True),
        Fence(statement, "OF j SKIP LOCKED", "OF j", _beside_a_locked_one(statement), True),
    ]


FINISHING = [fence for statement in sorted(FINISHES) for fence in _of_a_finish(statement)]

# -- the reaper ------------------------------------------------------------------------------------------------------


async def _rescues(scene: Scene, *silent: Beat) -> int:
    return len(await workers.rescue(scene.link, silent, n=100))


async def _silent(scene: Scene, _: Gate) -> Any:
    worker = await scene.worker(beat_ago=60)
    await scene.job("RUNNING", worker=worker)
    return await _rescues(scene, await scene.beat_of(worker))


async def _beaten_since(scene: Scene, _: Gate) -> Any:
    worker = await scene.worker(beat_ago=60)
    await scene.job("RUNNING", worker=worker)
    seen = await scene.beat_of(worker)
    await workers.beat(scene.link, worker, running=1, slots=1)
    return await _rescues(scene, seen), await workers.beat(scene.link, worker, running=1, slots=1)


async def _died_twice(scene: Scene, _: Gate) -> Any:
    worker = await scene.worker(beat_ago=60)
    seen = await scene.beat_of(worker)
    await _rescues(scene, seen)
    before = await scene.ask("SELECT dead_at FROM errander.workers")
    await _rescues(scene, seen)
    return await scene.ask("SELECT dead_at FROM errander.workers") == before


async def _missing(scene: Scene, _: Gate) -> Any:
    await scene.job("RUNNING", worker=uuid4())
    return await _rescues(scene)


async def _long_dead(scene: Scene, _: Gate) -> Any:
    await scene.job("RUNNING", worker=await scene.worker(dead=True))
    return await _rescues(scene)


async def _finished_meanwhile(scene: Scene, gate: Gate) -> Any:
    worker = await scene.worker(dead=True)
    job = await scene.job("RUNNING", worker=worker)
    reaping = await gate.start("rescue", _rescues(scene))
    await scene.finish("succeed", worker, (job, 1))
    gate.open()
    return await reaping, await scene.status(job)


async def _won_by_another_meanwhile(scene: Scene, gate: Gate) -> Any:
    dead, live = await scene.worker(dead=True), await scene.worker()
    job = await scene.job("RUNNING", worker=dead)
    reaping = await gate.start("rescue", _rescues(scene))
    # the same attempt under another worker: a fail-over between the two
    await scene.ask("UPDATE errander.jobs SET worker_id = $2 WHERE id = $1", job, live)
    gate.open()
    return await reaping


async def _begun_anew_meanwhile(scene: Scene, gate: Gate) -> Any:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    reaping = await gate.start("rescue", _rescues(scene, await scene.beat_of(worker)), condition=AFTER_DEAD)
    await scene.finish("fail", worker, (job, 1))
    await scene.claim(worker, job)
    gate.open()
    return await reaping


async def _rescued_beside_a_lock(scene: Scene, _: Gate) -> Any:
    worker = await scene.worker(dead=True)
    locked, _free = [await scene.job("RUNNING", worker=worker) for _ in range(2)]
    async with scene.database.begin() as other, scene.database.begin() as link:
        await other.fetch("lock_jobs", ids=[locked], tenant="default")
        await impatient(link)
        return len(await workers.rescue(link, [], n=100))


RESCUE = [
    Fence("rescue", "w.dead_at IS NULL AND w.beat_at = s.beat", "w.beat_at = s.beat", _died_twice, True),
    Fence("rescue", " AND w.beat_at = s.beat", "", _beaten_since, (0, False)),
    Fence("rescue", "r.worker_id IN (SELECT d.id FROM dead d)\n            OR ", "", _silent, 1),
    Fence(
        "rescue",
        "OR NOT EXISTS (SELECT FROM errander.workers w WHERE w.id = r.worker_id AND w.dead_at IS NULL)",
        "",
        _missing,
        1,
    ),
    Fence("rescue", "w.id = r.worker_id AND w.dead_at IS NULL", "w.id = r.worker_id", _long_dead, 1),
    Fence("rescue", " AND j.status || '' = 'RUNNING'", "", _finished_meanwhile, (0, "SUCCESS")),
    Fence("rescue", "j.worker_id = r.worker_id AND ", "", _won_by_another_meanwhile, 0),
    Fence("rescue", "j.attempt = r.attempt AND ", "", _begun_anew_meanwhile, 0),
    Fence("rescue", "OF j SKIP LOCKED", "OF j", _rescued_beside_a_lock, 1),
]


def _expires(way: str) -> Play:
    async def play(scene: Scene, gate: Gate) -> Any:
        if way == "left in the queue":
            job = await scene.job("SUCCESS", expires_in=-1.0)
            await scene.ask(
                "INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at, expires_at"
                " FROM errander.jobs WHERE id = $1",
                job,
            )
            return len(await workers.expire(scene.link, n=10))
        if way == "locked":
            job = await scene.job(expires_in=-1.0)
            async with scene.database.begin() as other, scene.database.begin() as link:
                await other.fetch("lock_jobs", ids=[job], tenant="default")
                await impatient(link)
                return len(await workers.expire(link, n=10))
        job = await scene.job(expires_in=-1.0)
        expiring = await gate.start("expire", workers.expire(scene.link, n=10))
        await scene.ask("UPDATE errander.jobs SET expires_at = now() + interval '1 h' WHERE id = $1", job)
        gate.open()
        return len(await expiring)

    return play


async def _retried_while_expiring(scene: Scene, gate: Gate) -> Any:
    worker = await scene.worker()
    await scene.job()  # one that waits besides
    job = await scene.job(expires_in=0.3)
    async with scene.database.begin() as link:
        await eventually(lambda: scene.ask("SELECT 1 FROM errander.ready WHERE expires_at <= now()"))
        expiring = await gate.start("expire", workers.expire(scene.link, n=10))
        await scene.claim(worker, job, link=link)
    await scene.finish("fail", worker, (job, 1))
    gate.open()
    return len(await expiring)


EXPIRE = [
    Fence("expire", "j.expires_at <= now() AND", "", _expires("moved"), 0),
    Fence("expire", " AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')", "", _expires("left in the queue"), 0),
    Fence("expire", "OF j, r SKIP LOCKED", "OF j, r", _expires("locked"), 0),
    Fence("expire", "OF j, r SKIP LOCKED", "OF j SKIP LOCKED", _retried_while_expiring, 0),
    Fence("expire", "ready r ON r.id = late.id", "ready r ON true", _retried_while_expiring, 0),
]
