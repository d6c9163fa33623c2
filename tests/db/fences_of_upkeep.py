"""What goes wrong when a client's edge, a lease, a term or a deletion loses one of its conditions."""

from typing import Any
from uuid import uuid4

from db import leader, retention, workers
from db.lifecycle import JobStatus
from tests.db.fence import Fence, Play
from tests.db.pruning import prune_jobs
from tests.db.racing import Gate
from tests.db.scene import Scene

# -- the client's edges ----------------------------------------------------------------------------------------------

_REPLAY = {"delay": 0.0, "payload": None, "max_attempts": None, "reason": None}


def _of_a_client(statement: str, status: str, *, tenant: str = "default", **columns: Any) -> Play:
    async def play(scene: Scene, _: Gate) -> Any:
        worker = await scene.worker()
        job = await scene.job(status, worker=worker if status == "RUNNING" else None, tenant=tenant, **columns)
        binds = _REPLAY if statement == "replay" else {"reason": None}
        rows = await scene.link.fetch(statement, ids=[job], tenant="default", **binds)
        return len(rows)

    return play


CLIENT = [
    Fence(
        "cancel",
        "AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')",
        "",
        _of_a_client("cancel", "SUCCESS"),
        0,
        times=2,
    ),
    Fence("cancel", "AND j.tenant = :tenant", "AND :tenant <> ''", _of_a_client("cancel", "PENDING", tenant="b"), 0),
    Fence("replay", "AND j.status || '' IN ('FAILED', 'CANCELLED')", "", _of_a_client("replay", "SUCCESS"), 0, times=2),
    Fence("replay", "AND j.tenant = :tenant", "AND :tenant <> ''", _of_a_client("replay", "FAILED", tenant="b"), 0),
    Fence("ask_cancel", "AND j.status || '' IN ('RUNNING')", "", _of_a_client("ask_cancel", "PENDING"), 0, times=2),
    Fence(
        "ask_cancel",
        "AND j.cancel_requested_at IS NULL",
        "",
        _of_a_client("ask_cancel", "RUNNING", cancel_asked=True),
        0,
    ),
    Fence(
        "ask_cancel",
        "AND j.tenant = :tenant",
        "AND :tenant <> ''",
        _of_a_client("ask_cancel", "RUNNING", tenant="b"),
        0,
    ),
]

# -- leases, terms and retention -------------------------------------------------------------------------------------


async def _beat_of_the_dead(scene: Scene, _: Gate) -> Any:
    return await workers.beat(scene.link, await scene.worker(dead=True), running=0, slots=1)


async def _second_leader(scene: Scene, _: Gate) -> Any:
    await leader.lead(scene.link, uuid4(), seconds=60)
    return await leader.lead(scene.link, uuid4(), seconds=60)


async def _renewal(scene: Scene, _: Gate) -> Any:
    worker = uuid4()
    await leader.lead(scene.link, worker, seconds=60)
    return await leader.lead(scene.link, worker, seconds=60)


async def _followed(scene: Scene, _: Gate) -> Any:
    await leader.lead(scene.link, uuid4(), seconds=-1)
    return await leader.lead(scene.link, uuid4(), seconds=60)


async def _followed_after_the_clock_was_set_back(scene: Scene, _: Gate) -> Any:
    await leader.lead(scene.link, uuid4(), seconds=600)
    return await leader.lead(scene.link, uuid4(), seconds=60)


async def _resigned_by_another(scene: Scene, _: Gate) -> Any:
    worker = uuid4()
    await leader.lead(scene.link, worker, seconds=60)
    await leader.resign(scene.link, uuid4())
    return await leader.lead(scene.link, uuid4(), seconds=60)


def _pruned_meanwhile(change: str) -> Play:
    async def play(scene: Scene, gate: Gate) -> Any:
        job = await scene.job("FAILED", finished_ago=100.0)
        pruning = await gate.start("prune_jobs", prune_jobs(scene.link, JobStatus.FAILED, seconds=50, n=10))
        await scene.ask(f"UPDATE errander.jobs SET {change} WHERE id = $1", job)
        gate.open()
        return await pruning

    return play


async def _worker_with_a_job(scene: Scene, _: Gate) -> Any:
    worker = await scene.worker()
    await scene.ask("UPDATE errander.workers SET dead_at = now() - interval '2 h'")
    await scene.job("RUNNING", worker=worker)
    return await retention.prune_workers(scene.link, seconds=60, n=10)


async def _worker_alive(scene: Scene, _: Gate) -> Any:
    await scene.worker()
    return await retention.prune_workers(scene.link, seconds=60, n=10)


_AFTER_A_STEP_BACK = "OR leaders.until > now() + make_interval(secs => 2 * CAST(:seconds AS float8))"
_OLD = "      AND j.finished_at < now() - make_interval(secs => CAST(:seconds AS float8))\n    ORDER"

UPKEEP = [
    Fence("beat", " AND dead_at IS NULL", "", _beat_of_the_dead, None),
    Fence("lead", "leaders.worker_id = excluded.worker_id OR ", "", _renewal, 1),
    Fence("lead", " OR leaders.until < now()", "", _followed, 2),
    Fence("lead", f"\n   {_AFTER_A_STEP_BACK}", "", _followed_after_the_clock_was_set_back, 2),
    Fence("lead", _AFTER_A_STEP_BACK, "OR leaders.until > now()", _second_leader, None),
    Fence(
        "lead",
        f"WHERE leaders.worker_id = excluded.worker_id OR leaders.until < now()\n   {_AFTER_A_STEP_BACK}",
        "",
        _second_leader,
        None,
    ),
    Fence(
        "resign",
        " AND worker_id = CAST(:worker AS uuid)",
        " AND CAST(:worker AS uuid) IS NOT NULL",
        _resigned_by_another,
        None,
    ),
    Fence(
        "prune_jobs",
        "      AND j.status || '' = CAST(:status AS text)\n",
        "",
        _pruned_meanwhile("status = 'CANCELLED', failed_at = NULL, cancelled_by = 'client'"),
        0,
    ),
    Fence("prune_jobs", _OLD, "    ORDER", _pruned_meanwhile("finished_at = now()"), 0),
    Fence(
        "prune_workers",
        "\n      AND NOT EXISTS (SELECT FROM errander.running r WHERE r.worker_id = w.id)",
        "",
        _worker_with_a_job,
        0,
    ),
    Fence(
        "prune_workers",
        "w.dead_at < now() - make_interval(secs => CAST(:seconds AS float8))",
        "CAST(:seconds AS float8) > 0",
        _worker_alive,
        0,
    ),
]
