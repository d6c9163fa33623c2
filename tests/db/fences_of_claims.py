"""What goes wrong when a claim loses one of its conditions."""

from typing import Any
from uuid import UUID, uuid4

from tests.db.fence import Fence, Play
from tests.db.racing import Gate, impatient
from tests.db.scene import POOL, TASK, Scene


async def _wins(scene: Scene, way: str, worker: UUID, *ids: UUID, **more: Any) -> tuple[frozenset[UUID], int]:
    """What a claim wins, and how many candidates it saw (by id: as many as it won)."""
    if way == "claim_by_id":
        won = frozenset(job.id for job in await scene.claim(worker, *ids, **more))
        return won, len(won)
    head = await scene.claim_head(worker, **more)
    return frozenset(job.id for job in head.jobs), head.seen


NOTHING = (0, 0)


async def _counts(scene: Scene, way: str, worker: UUID, *ids: UUID, **more: Any) -> tuple[int, int]:
    won, seen = await _wins(scene, way, worker, *ids, **more)
    return len(won), seen


# -- claims: what stands in a scene from the start -------------------------------------------------------------------


def _unclaimable(way: str, **like: Any) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        return await _counts(scene, way, await scene.worker(), await scene.job(**like))

    return play


def _paused(way: str, table: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        job = await scene.job()
        if table == "queue_pauses":
            await scene.ask("INSERT INTO errander.queue_pauses (pool, priority) VALUES ($1, 'default')", POOL)
        else:
            await scene.ask("INSERT INTO errander.task_pauses (task) VALUES ($1)", TASK)
        return await _counts(scene, way, await scene.worker(), job)

    return play


def _by_worker(way: str, **like: Any) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        await scene.worker()  # another, whose row is as it should be
        worker = await scene.worker(**like) if like else uuid4()
        return (await _counts(scene, way, worker, await scene.job()))[0]

    return play


def _left_in_queue(way: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        job = await scene.job("CANCELLED")
        await scene.ask(
            "INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at FROM errander.jobs WHERE id = $1",
            job,
        )
        await _counts(scene, way, await scene.worker(), job)
        return await scene.status(job)

    return play


def _left_in_queue_beside(way: str) -> Play:
    """What was left there must be judged by its own row, not by that of one that waits."""

    async def play(scene: Scene, gate: Gate) -> Any:
        await scene.job()
        return await _left_in_queue(way)(scene, gate)

    return play


def _beside_a_lock(way: str) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        locked, free = await scene.job(), await scene.job()
        async with scene.database.begin() as other, scene.database.begin() as link:
            await other.fetch("lock_jobs", ids=[locked], tenant="default")
            await impatient(link)
            won, _seen = await _wins(scene, way, await scene.worker(), locked, free, link=link)
            return won == {free}

    return play


async def _only_what_was_asked_for(scene: Scene, _: Gate) -> Any:
    asked, other = await scene.job(), await scene.job()
    await scene.claim(await scene.worker(), asked)
    return await scene.status(other)


# -- claims: what changes after the candidates were read -------------------------------------------------------------


def _meanwhile(way: str, *changes: str) -> Play:
    """A queued row is changed between the claim's snapshot and its locks; queue `low` and task `b` are paused."""

    async def play(scene: Scene, gate: Gate) -> Any:
        await scene.ask("INSERT INTO errander.queue_pauses (pool, priority) VALUES ($1, 'low')", POOL)
        await scene.ask("INSERT INTO errander.task_pauses (task) VALUES ('b')")
        worker, job = await scene.worker(), await scene.job()
        claiming = await gate.start(way, _wins(scene, way, worker, job, tasks=[TASK, "b"]))
        for change in changes:
            await scene.ask(f"UPDATE errander.ready SET {change} WHERE id = $1", job)
        gate.open()
        return len((await claiming)[0])

    return play


def _ran_and_failed_meanwhile(way: str) -> Play:
    async def play(scene: Scene, gate: Gate) -> Any:
        one, two, job = await scene.worker(), await scene.worker(), await scene.job()
        claiming = await gate.start(way, _wins(scene, way, two, job))
        await scene.finish("fail", one, (job, (await _plain_claim(scene, one, job))), delays=60.0)
        gate.open()
        return len((await claiming)[0])

    return play


async def _plain_claim(scene: Scene, worker: UUID, job: UUID) -> int:
    """Wins a job without the statement under test, which may be gated; its attempt."""
    await scene.ask(
        "WITH left_queue AS (DELETE FROM errander.ready WHERE id = $1),"
        " started AS (UPDATE errander.jobs SET status = 'RUNNING', attempt = attempt + 1, worker_id = $2,"
        " started_at = now() WHERE id = $1 RETURNING *)"
        " INSERT INTO errander.running SELECT id, attempt, worker_id, pool, priority FROM started",
        job,
        worker,
    )
    return int((await scene.row(job))["attempt"])


_TASK = "r.task = ANY(CAST(:tasks AS text[]))"
_POOL = "r.pool = CAST(:pool AS text)\n    AND r.task"
_QUEUE_PAUSE = "\n    AND (r.pool, r.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)"
_TASK_PAUSE = "\n    AND r.task NOT IN (SELECT t.task FROM errander.task_pauses t)"
_EXPIRY = "\n    AND (r.expires_at IS NULL OR r.expires_at > now())\n"
_DUE = "r.run_at <= now()\n    AND"
_WAITS = "j.status || '' IN ('PENDING', 'RETRYING')\n"


def _of_every_claim(way: str) -> list[Fence]:
    return [
        Fence(way, "w.id = CAST(:worker AS uuid) AND w", "w", _by_worker(way), 0),
        Fence(way, " AND w.dead_at IS NULL\n", "\n", _by_worker(way, dead=True), 0),
        Fence(
            way,
            "AND w.beat_at > now() - make_interval(secs => CAST(:lease AS float8) / 2)",
            "AND CAST(:lease AS float8) > 0",
            _by_worker(way, beat_ago=16.0),
            0,
        ),
        Fence(way, _WAITS, "j.id IS NOT NULL\n", _left_in_queue(way), "CANCELLED"),
        Fence(way, "jobs j ON j.id = r.id", "jobs j ON true", _left_in_queue_beside(way), "CANCELLED"),
        Fence(way, "OF r, j SKIP LOCKED", "OF r SKIP LOCKED", _beside_a_lock(way), True),
        Fence(way, "OF r, j SKIP LOCKED", "OF r, j", _beside_a_lock(way), True),
        Fence(way, "OF r, j SKIP LOCKED", "OF j SKIP LOCKED", _ran_and_failed_meanwhile(way), 0),
        # on the locked row
        Fence(way, _DUE, "true\n    AND", _meanwhile(way, "run_at = now() + interval '1 h'"), 0),
        Fence(way, _EXPIRY, "\n", _meanwhile(way, "expires_at = now() - interval '1 h'"), 0),
        Fence(way, _POOL, "CAST(:pool AS text) <> ''\n    AND r.task", _meanwhile(way, "pool = 'gpu'"), 0),
        Fence(way, _TASK, "CAST(:tasks AS text[]) <> '{}'", _meanwhile(way, "task = 'somebody.elses'"), 0),
        Fence(way, _QUEUE_PAUSE, "", _meanwhile(way, "priority = 'low'"), 0),
        Fence(way, _TASK_PAUSE, "", _meanwhile(way, "task = 'b'"), 0),
    ]


CLAIM_BY_ID = [
    *_of_every_claim("claim_by_id"),
    Fence(
        "claim_by_id",
        "r.id = ANY(CAST(:ids AS uuid[]))",
        "CAST(:ids AS uuid[]) <> '{}'",
        _only_what_was_asked_for,
        "PENDING",
    ),
    Fence("claim_by_id", _DUE, "true\n    AND", _unclaimable("claim_by_id", run_in=60.0), NOTHING),
    Fence("claim_by_id", _EXPIRY, "\n", _unclaimable("claim_by_id", expires_in=-0.5), NOTHING),
    Fence("claim_by_id", _QUEUE_PAUSE, "", _paused("claim_by_id", "queue_pauses"), NOTHING),
    Fence("claim_by_id", _TASK_PAUSE, "", _paused("claim_by_id", "task_pauses"), NOTHING),
]

_HEAD = "claim_by_head"

CLAIM_BY_HEAD = [
    *_of_every_claim(_HEAD),
    # among the candidates: what could not be won must neither be counted nor stand in front
    Fence(_HEAD, "AND r.run_at <= now() AND (", "AND (", _unclaimable(_HEAD, run_in=60.0), NOTHING),
    Fence(
        _HEAD,
        "now() AND (r.expires_at IS NULL OR r.expires_at > now())",
        "now()",
        _unclaimable(_HEAD, expires_in=-0.5),
        NOTHING,
    ),
    Fence(
        _HEAD,
        "r.pool = CAST(:pool AS text) AND r.priority",
        "r.priority",
        _unclaimable(_HEAD, pool="gpu"),
        NOTHING,
    ),
    Fence(_HEAD, "AND r.priority = CAST(:priority AS text) ", "", _unclaimable(_HEAD, priority="low"), NOTHING),
    Fence(_HEAD, "AND r.task = served.task\n", "\n", _unclaimable(_HEAD, task="somebody.elses"), NOTHING),
    Fence(
        _HEAD,
        "WHERE NOT EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = served.task)",
        "WHERE true",
        _paused(_HEAD, "task_pauses"),
        NOTHING,
    ),
    Fence(
        _HEAD,
        "AND NOT EXISTS (\n          SELECT FROM errander.queue_pauses q\n",
        "AND true OR NOT EXISTS (\n          SELECT FROM errander.queue_pauses q\n",
        _paused(_HEAD, "queue_pauses"),
        NOTHING,
    ),
]
