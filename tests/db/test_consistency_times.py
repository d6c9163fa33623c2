"""What should have happened by now: leases of nobody, jobs that nothing starts, a fleet without a leader."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from db import leader
from db.consistency import Limits, confirmed, examine, look
from db.consistency_rules import Found, is_clean
from tests.db.scene import TASK, Scene

LIMITS = Limits(lease=30.0, late=600.0, pause=0.0)

# -- leases of nobody, and what should have happened by now ----------------------------------------------------------


async def _running_under(scene: Scene, worker: UUID, seconds: float) -> UUID:
    job = await scene.job("RUNNING", worker=worker, timeout=86_400.0)
    await scene.ask(
        "UPDATE errander.jobs SET started_at = now() - make_interval(secs => $2) WHERE id = $1", job, seconds
    )
    return job


async def _missing(_: Scene) -> UUID:
    return uuid4()


async def _dead(scene: Scene) -> UUID:
    worker = await scene.worker(dead=True)
    await scene.ask("UPDATE errander.workers SET dead_at = now() - interval '61 s'")
    return worker


async def _silent(scene: Scene) -> UUID:
    return await scene.worker(beat_ago=91.0)


@pytest.mark.parametrize("gone", [_missing, _dead, _silent])
async def test_a_lease_that_nobody_lives_to_renew_is_found_once_a_rescue_is_overdue(
    scene: Scene, gone: Callable[[Scene], Awaitable[UUID]]
) -> None:
    worker = await gone(scene)
    job, _young = await _running_under(scene, worker, 61.0), await _running_under(scene, worker, 50.0)
    assert (await examine(scene.database, LIMITS)).found == {"lease-orphaned": Found("lease-orphaned", 1, (str(job),))}


@pytest.mark.parametrize(("dead", "beat_ago"), [(True, 0.0), (False, 80.0), (False, 1.0)])
async def test_a_lease_that_a_rescue_may_still_be_under_way_for_is_none(
    scene: Scene, dead: bool, beat_ago: float
) -> None:
    await _running_under(scene, await scene.worker(dead=dead, beat_ago=beat_ago), 3600.0)
    assert (await examine(scene.database, LIMITS)).found == {}


async def test_an_isolated_job_that_waits_for_its_turn_is_not_overdue(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, crashes=2, attempt=3, max_crashes=3)
    await scene.ask("UPDATE errander.jobs SET started_at = now() - interval '1 day' WHERE id = $1", job)
    assert (await look(scene.database, LIMITS)).found == {}


async def test_a_job_that_a_free_worker_does_not_start_is_stuck(scene: Scene) -> None:
    await scene.worker()
    job, _behind, _in_time = [await scene.job(run_in=seconds) for seconds in (-700.0, -690.0, -590.0)]
    found = (await examine(scene.database, LIMITS)).found
    # what keeps it may keep the ones behind it, or not: that cannot be told, so one is named
    assert found == {"job-stuck": Found("job-stuck", 1, (str(job),))}


@pytest.mark.parametrize(
    "reason",
    [
        "UPDATE errander.workers SET slots = 0",
        "UPDATE errander.workers SET drain_requested_at = now()",
        "UPDATE errander.workers SET beat_at = now() - interval '16 s'",
        "INSERT INTO errander.queue_pauses (pool, priority) VALUES ('default', 'default')",
        "UPDATE errander.ready SET expires_at = now(); UPDATE errander.jobs SET expires_at = (SELECT expires_at FROM errander.ready)",
        (
            f"INSERT INTO errander.task_pauses (task) VALUES ('{TASK}');"
            f" INSERT INTO errander.tasks (name, schema_hash, payload_schema, defaults) VALUES ('{TASK}', '1', '{{}}', '{{}}')"
        ),
    ],
    ids=["full", "drains", "stale", "queue paused", "expired", "task paused"],
)
async def test_a_job_that_may_not_start_is_not_stuck(scene: Scene, reason: str) -> None:
    await scene.worker()
    await scene.job(run_in=-700.0)
    await scene.link.executor.execute(reason)
    assert "job-stuck" not in (await examine(scene.database, LIMITS)).found


async def test_a_job_behind_an_older_one_of_another_task_is_not_stuck_and_of_the_older_one_only_where_it_stays(
    scene: Scene,
) -> None:
    await scene.worker(tasks=("old", "new"))
    older, newer = await scene.job(task="old", run_in=-900.0), await scene.job(task="new", run_in=-700.0)
    first = (await look(scene.database, LIMITS)).found
    assert first["job-stuck"].examples == (str(older),)
    worker = await scene.worker(tasks=("old", "new"))
    await scene.claim(worker, older, tasks=["old"])
    second = (await look(scene.database, LIMITS)).found
    assert second["job-stuck"].examples == (str(newer),)
    # the queue moves: what is next now was not next then
    assert dict(confirmed(first, second)) == {}


async def test_of_what_may_pass_only_what_two_looks_agree_on_is_left() -> None:
    first = {"job-stuck": Found("job-stuck", 2, ("a", "b")), "ready-missing": Found("ready-missing", 1, ("c",))}
    second = {"job-stuck": Found("job-stuck", 2, ("b", "d")), "ready-surplus": Found("ready-surplus", 1, ("e",))}
    assert dict(confirmed(first, second)) == {
        "job-stuck": Found("job-stuck", 1, ("b",)),
        "ready-surplus": Found("ready-surplus", 1, ("e",)),
    }
    many = {"lease-orphaned": Found("lease-orphaned", 50, ("a", "b"))}
    assert dict(confirmed(many, many)) == many


async def test_a_due_job_that_no_live_worker_serves_is_told_once_a_queue_and_task(scene: Scene) -> None:
    await scene.worker(priorities=["high"])
    jobs_of = {
        (priority, task): [await scene.job(priority=priority, task=task, run_in=-700.0 + n) for n in range(3)]
        for priority in ("high", "low")
        for task in (TASK, "other")
    }
    found = (await look(scene.database, LIMITS)).found
    unserved = {str(made[0]) for (priority, task), made in jobs_of.items() if (priority, task) != ("high", TASK)}
    assert set(found["job-unserved"].examples) == unserved
    assert set(found) == {"job-unserved", "job-stuck"}


async def test_a_fleet_that_nobody_leads_is_found_after_a_lease(scene: Scene) -> None:
    worker = await scene.worker()
    assert (await examine(scene.database, LIMITS)).found == {}, "it has just started"
    await scene.ask("UPDATE errander.workers SET started_at = now() - interval '31 s'")
    assert (await examine(scene.database, LIMITS)).found == {
        "leader-missing": Found("leader-missing", 1, (str(worker),))
    }
    await leader.lead(scene.link, worker, seconds=-20)
    assert (await examine(scene.database, LIMITS)).found == {}, "there was one until a moment ago"


async def test_a_pause_of_a_task_that_nothing_has_announced_is_told(scene: Scene) -> None:
    await scene.ask("INSERT INTO errander.task_pauses (task) VALUES ('reprot.build')")
    found = (await look(scene.database, LIMITS)).found
    assert found == {"pause-unknown": Found("pause-unknown", 1, ("reprot.build",))}
    assert is_clean(found)
