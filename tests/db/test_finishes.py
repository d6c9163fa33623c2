"""The statements by which a worker ends its own attempts: the edges, the budgets, and the fence."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.db.racing import Gate, waits_for_lock
from tests.db.scene import FINISHES, TARGETS, Scene

EDGES = sorted(TARGETS)
MINE = sorted(FINISHES)


@pytest.mark.parametrize("edge", EDGES)
async def test_it_moves_a_running_job_and_frees_its_lease(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)

    (moved,) = await scene.finish(edge, worker, (job, 1))

    row = await scene.row(job)
    assert (moved.id, moved.status, row["status"]) == (job, TARGETS[edge], TARGETS[edge])
    assert row["worker_id"] == worker, "who ran it last stays to be seen"
    assert row["attempt"] == 1
    assert (row["finished_at"] is not None) == (moved.due_in is None)
    await scene.check()


@pytest.mark.parametrize("edge", EDGES)
async def test_it_moves_many_in_one_statement_and_leaves_the_others(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    jobs = [(await scene.job("RUNNING", worker=worker), 1) for _ in range(20)]
    stale = (await scene.job("RUNNING", worker=worker, attempt=3), 2)

    moved = await scene.finish(edge, worker, *jobs, stale)

    assert {row.id for row in moved} == {job for job, _ in jobs}
    assert await scene.status(stale[0]) == "RUNNING"
    await scene.check()


@pytest.mark.parametrize("edge", MINE)
@pytest.mark.parametrize("status", ["WAITING", "PENDING", "RETRYING", "SUCCESS", "FAILED", "CANCELLED"])
async def test_it_changes_nothing_that_does_not_run(scene: Scene, edge: str, status: str) -> None:
    worker = await scene.worker()
    job = await scene.job(status, worker=worker, attempt=1)
    before = await scene.row(job)
    assert await scene.finish(edge, worker, (job, 1)) == []
    assert await scene.row(job) == before
    assert await scene.history(job) == []


@pytest.mark.parametrize("edge", MINE)
@pytest.mark.parametrize("attempt", [1, 3])
async def test_it_changes_nothing_of_another_attempt(scene: Scene, edge: str, attempt: int) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, attempt=2)
    before = await scene.row(job)
    assert await scene.finish(edge, worker, (job, attempt)) == []
    assert await scene.row(job) == before
    await scene.check()


@pytest.mark.parametrize("edge", MINE)
async def test_it_changes_nothing_of_another_worker_with_the_same_attempt(scene: Scene, edge: str) -> None:
    # after a fail-over to a standby that had not the claim yet, two workers hold the same attempt number
    worker, other = await scene.worker(), await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    before = await scene.row(job)
    assert await scene.finish(edge, other, (job, 1)) == []
    assert await scene.row(job) == before
    await scene.check()


@pytest.mark.parametrize("edge", MINE)
async def test_a_row_that_somebody_locked_is_left_out_and_its_neighbours_are_not(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    locked, free = [(await scene.job("RUNNING", worker=worker), 1) for _ in range(2)]
    async with scene.database.begin() as link:
        await link.fetch("lock_jobs", ids=[locked[0]], tenant="default")
        moved = await asyncio.wait_for(scene.finish(edge, worker, locked, free), 1.5)  # below the lock timeout
    if edge != "progress":
        assert {row.id for row in moved} == {free[0]}
    assert await scene.status(locked[0]) == "RUNNING"
    await scene.check()


@pytest.mark.parametrize("edge", EDGES)
async def test_a_repeated_finish_is_told_by_what_it_leaves_out(scene: Scene, edge: str) -> None:
    # the reply was lost: the second try must neither run the edge twice nor fail
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    await scene.finish(edge, worker, (job, 1))
    before = await scene.row(job)
    assert await scene.finish(edge, worker, (job, 1)) == []
    assert await scene.row(job) == before
    assert (before["attempt"], before["worker_id"]) == (1, worker), "so the verdict can tell that it was ours"


@pytest.mark.parametrize("edge", EDGES)
async def test_a_cancel_request_beats_all_but_an_end(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, cancel_asked=True, cancel_reason="no longer needed")
    await scene.finish(edge, worker, (job, 1))
    row = await scene.row(job)
    assert row["status"] == ("SUCCESS" if edge == "succeed" else "CANCELLED")
    if edge != "succeed":
        assert (row["cancelled_by"], row["cancel_reason"]) == ("client", "no longer needed")
    await scene.check()


@pytest.mark.parametrize("edge", ["fail", "crash", "snooze", "give_back"])
async def test_a_cancel_request_that_was_written_while_it_waited_is_seen(scene: Scene, gate: Gate, edge: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    finishing = await gate.start(edge, scene.finish(edge, worker, (job, 1)))
    await scene.link.fetch("ask_cancel", ids=[job], tenant="default", reason=None)
    gate.open()
    (moved,) = await finishing
    assert (moved.status, await scene.status(job)) == ("CANCELLED", "CANCELLED")
    await scene.check()


@pytest.mark.parametrize("edge", EDGES)
async def test_of_two_ends_at_once_only_the_first_counts(scene: Scene, gate: Gate, edge: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    late = await gate.start(edge, scene.finish(edge, worker, (job, 1)))
    await scene.ask("UPDATE errander.jobs SET status = 'SUCCESS', finished_at = now() WHERE id = $1", job)
    await scene.ask("DELETE FROM errander.running WHERE id = $1", job)
    gate.open()
    assert await late == []
    assert await scene.status(job) == "SUCCESS"
    await scene.check()


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "status"), [(0, "RETRYING"), (1, "RETRYING"), (2, "FAILED")])
async def test_a_failure_is_final_when_its_budget_is_spent(scene: Scene, failures: int, status: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, attempt=7, failures=failures, max_attempts=3)
    await scene.finish("fail", worker, (job, 7), delays=40.0)
    row = await scene.row(job)
    assert (row["status"], row["failures"], row["crashes"]) == (status, failures + 1, 0)
    if status == "RETRYING":
        assert 39 < await scene.due_in(job) <= 40
    else:
        assert row["failed_at"] == row["finished_at"]
    await scene.check()


async def test_a_final_failure_spends_no_more_than_one_failure(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    await scene.finish("fail", worker, (job, 1), finals=True)
    row = await scene.row(job)
    assert (row["status"], row["failures"]) == ("FAILED", 1)


@pytest.mark.parametrize("last", [{"failures": 2, "max_attempts": 3}, {"final": True}])
async def test_a_final_failure_beats_a_cancel_request(scene: Scene, last: dict[str, Any]) -> None:
    worker = await scene.worker()
    finals = bool(last.pop("final", False))
    job = await scene.job("RUNNING", worker=worker, attempt=4, cancel_asked=True, **last)
    await scene.finish("fail", worker, (job, 4), finals=finals)
    assert await scene.status(job) == "FAILED"


@pytest.mark.parametrize(("crashes", "status"), [(0, "RETRYING"), (2, "FAILED")])
async def test_a_crash_is_final_when_its_budget_is_spent(scene: Scene, crashes: int, status: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, attempt=5, crashes=crashes, max_crashes=3)
    await scene.finish("crash", worker, (job, 5))
    row = await scene.row(job)
    assert (row["status"], row["failures"], row["crashes"]) == (status, 0, crashes + 1)
    await scene.check()


@pytest.mark.parametrize("edge", ["snooze", "give_back"])
@pytest.mark.parametrize("spent", [{"failures": 1}, {"crashes": 1}])
async def test_what_costs_nothing_leaves_the_budgets_and_the_kind_of_waiting(
    scene: Scene, edge: str, spent: dict[str, Any]
) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, attempt=2, **spent)
    await scene.finish(edge, worker, (job, 2))
    row = await scene.row(job)
    assert row["status"] == "RETRYING"
    assert {name: row[name] for name in spent} == spent
    assert row["errors"] == "[]"
    await scene.check()


async def test_a_snooze_waits_as_long_as_it_says(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    (moved,) = await scene.finish("snooze", worker, (job, 1), delays=90.0)
    assert moved.due_in is not None
    assert 89 < moved.due_in <= 90
    assert 89 < await scene.due_in(job) <= 90


@pytest.mark.parametrize(("delay", "least", "most"), [(0.0, -2.0, 0.0), (2.0, 1.0, 2.0)])
async def test_what_is_given_back_keeps_its_place_or_waits_a_little(
    scene: Scene, delay: float, least: float, most: float
) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, run_in=-600.0)
    await scene.finish("give_back", worker, (job, 1), delays=delay)
    assert least - 1 < await scene.due_in(job) <= most


@pytest.mark.parametrize(("begun", "status"), [(True, "FAILED"), (False, "PENDING")])
async def test_a_job_that_may_not_run_twice_is_given_back_only_if_its_code_had_not_begun(
    scene: Scene, begun: bool, status: str
) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, max_crashes=1)
    await scene.finish("give_back", worker, (job, 1), begun=begun)
    assert await scene.status(job) == status
    assert [error["kind"] for error in await scene.errors(job)] == (["lost"] if begun else [])
    await scene.check()


# -- what is kept -----------------------------------------------------------------------------------------------------


async def test_a_result_is_kept_as_it_is_even_null(scene: Scene) -> None:
    worker = await scene.worker()
    nothing, number = [(await scene.job("RUNNING", worker=worker), 1) for _ in range(2)]
    await scene.finish("succeed", worker, nothing, results="null")
    await scene.finish("succeed", worker, number, results="12345678901234567890.5")
    assert (await scene.row(nothing[0]))["result"] == "null"
    assert (await scene.row(number[0]))["result"] == "12345678901234567890.5"
    assert await scene.history(nothing[0]) == [], "history costs nothing on the straight path"


@pytest.mark.parametrize("edge", ["fail", "crash"])
async def test_the_last_twenty_errors_are_kept_oldest_first(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    kept = [{"attempt": n, "message": f"m{n}"} for n in range(1, 20)]
    job = await scene.job(
        "RUNNING", worker=worker, attempt=20, errors=json.dumps(kept), max_attempts=100, max_crashes=100
    )
    await scene.finish(edge, worker, (job, 20))
    await scene.claim(worker, job)
    await scene.finish(edge, worker, (job, 21))
    errors = await scene.errors(job)
    assert [error["attempt"] for error in errors] == list(range(2, 22))
    assert errors[-1] | {"at": None} == {
        "attempt": 21,
        "at": None,
        "worker": str(worker),
        "kind": "error" if edge == "fail" else "crash",
        "type": "E",
        "message": "m",
    }


@pytest.mark.parametrize(
    ("edge", "event"), [("fail", "failed"), ("crash", "failed"), ("snooze", "snoozed"), ("give_back", "given-back")]
)
async def test_what_columns_do_not_say_stands_in_the_history(scene: Scene, edge: str, event: str) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker, attempt=4)
    started = (await scene.row(job))["started_at"]
    await scene.finish(edge, worker, (job, 4))
    (entry,) = await scene.history(job)
    assert (entry["event"], entry["attempt"], entry["worker_id"], entry["started_at"]) == (event, 4, worker, started)
    assert entry["status"] == TARGETS[edge]
    assert ("reason" in entry["detail"]) == (edge == "give_back")


async def test_who_cancelled_and_why_is_kept(scene: Scene) -> None:
    worker = await scene.worker()
    by_task, asked = (
        await scene.job("RUNNING", worker=worker),
        await scene.job("RUNNING", worker=worker, cancel_asked=True, cancel_reason="the client's"),
    )
    await scene.finish("cancel_running", worker, (by_task, 1), by="task", reasons="the task's")
    await scene.finish("cancel_running", worker, (asked, 1), by="client", reasons=None)
    task, client = await scene.row(by_task), await scene.row(asked)
    assert (task["cancelled_by"], task["cancel_reason"]) == ("task", "the task's")
    assert (client["cancelled_by"], client["cancel_reason"]) == ("client", "the client's")


async def test_progress_is_the_newest_and_says_when(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job("RUNNING", worker=worker)
    for done in (1, 2):
        await scene.finish("progress", worker, (job, 1), progress=json.dumps({"done": done}))
    found = json.loads((await scene.row(job))["progress"])
    assert found["done"] == 2
    assert found["at"]


# -- against the client ---------------------------------------------------------------------------------------------


async def test_a_cancel_waits_for_a_claim_under_way_and_then_asks(scene: Scene) -> None:
    worker = await scene.worker()
    job = await scene.job()

    async def cancel() -> list[UUID]:
        async with scene.database.begin() as link:
            await link.fetch("lock_jobs", ids=[job], tenant="default")
            ended = await link.fetch("cancel", ids=[job], tenant="default", reason=None)
            asked = await link.fetch("ask_cancel", ids=[job], tenant="default", reason=None)
            return [row["id"] for row in (*ended, *asked)]

    async with scene.database.begin() as link:
        await scene.claim(worker, job, link=link)
        cancelling = asyncio.create_task(cancel())
        await waits_for_lock(scene, cancelling)
    assert await cancelling == [job]
    row = await scene.row(job)
    assert (row["status"], row["cancel_requested_at"] is not None) == ("RUNNING", True)
    await scene.check()
