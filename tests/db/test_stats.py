"""Figures: the same wherever the mark stands, bounded in what they look at, and honest about it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from db import queues, rollups, stats
from db.lifecycle import JobStatus
from tests.db.counting import figures, fold, mark
from tests.db.scene import TASK, Scene


@pytest.fixture
async def counted(scene: Scene) -> AsyncIterator[Scene]:
    """A database whose mark stands a week back."""
    await mark(scene, "now() - interval '7 days'")
    yield scene


async def test_figures_are_the_same_wherever_the_mark_stands(counted: Scene) -> None:
    worker = await counted.worker()
    for n in range(60):
        await counted.job(
            "FAILED" if n % 4 == 0 else "SUCCESS",
            finished_ago=1.0 + n * 5.0 - 0.5,
            worker=worker,
            attempt=1,
            task=f"task.{n % 3}",
        )
    before = await figures(counted)
    assert sum(row.succeeded + row.failed for row in before.finished) == 60
    assert sum(row.last_minute for row in before.finished) == 12
    await fold(counted, margin=100.0)
    between = await figures(counted)
    await fold(counted)
    after = await figures(counted)
    for one in (between, after):
        assert one.totals == before.totals
        assert {row.task for row in one.finished} == {"task.0", "task.1", "task.2"}
        # a span that the window cuts counts by its share
        assert sum(row.succeeded + row.failed for row in one.finished) == pytest.approx(60, abs=4)
        assert sum(row.last_minute for row in one.finished) == pytest.approx(12, abs=2)
    # the time of the tests' jobs is set by hand: started half a second before now, so they ran for nothing
    assert before.latencies.run_p50 == after.latencies.run_p50


async def test_times_are_right_within_a_twentieth(counted: Scene) -> None:
    for wanted in (0.004, 0.7, 33.0, 5000.0):
        await counted.ask("DELETE FROM errander.jobs")
        job = await counted.job("SUCCESS", finished_ago=0.0, attempt=1)
        await counted.ask(
            "UPDATE errander.jobs SET started_at = finished_at - make_interval(secs => $2),"
            " run_at = finished_at - make_interval(secs => 3 * $2::float8) WHERE id = $1",
            job,
            wanted,
        )
        found = (await figures(counted)).latencies
        assert found.run_p50 == pytest.approx(wanted, rel=0.05)
        assert found.wait_p95 == pytest.approx(2 * wanted, rel=0.05)


async def test_figures_say_that_they_are_behind_where_more_ended_than_is_looked_at(
    counted: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "ENDED_SAMPLE", 5)
    for _ in range(4):
        await counted.job("SUCCESS", finished_ago=1.0)
    assert (await figures(counted)).whole
    await fold(counted)
    for _ in range(6):
        await counted.job("SUCCESS", finished_ago=0.0)
    found = await figures(counted)
    assert not found.whole
    assert 4 + 5 == found.totals[JobStatus.SUCCESS] <= 10
    assert (await stats.counts(counted.link, found, [])).estimated


async def test_waiting_jobs_are_counted_by_status(counted: Scene) -> None:
    for status in ("PENDING", "PENDING", "RETRYING"):
        await counted.job(status, failures=int(status == "RETRYING"))
    found = await stats.counts(counted.link, await figures(counted), [])
    assert (found.jobs[JobStatus.PENDING], found.jobs[JobStatus.RETRYING], found.estimated) == (2, 1, False)


def test_a_percentile_of_nothing_is_none() -> None:
    assert stats.percentile({}, 0.5) is None
    assert stats.percentile({-1: 3}, 0.95) == 0.0005
    assert stats.percentile({0: 1, 8: 1}, 0.95) == pytest.approx(0.002, rel=0.05)


# -- what waits ------------------------------------------------------------------------------------------------------


async def deep(scene: Scene, n: int, *, retrying: int = 0) -> None:
    """`n` due jobs, the first `retrying` of which have failed before."""
    for number in range(n):
        failed = number < retrying
        await scene.job("RETRYING" if failed else "PENDING", failures=int(failed), run_in=-10.0)


async def test_a_part_of_a_queue_is_counted_up_to_a_bound_and_then_as_the_leader_counted_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "COUNTED_AT_EACH_LOOK", 5)
    monkeypatch.setattr(rollups, "COUNTED_AT_EACH_LOOK", 5)
    await scene.worker()
    await deep(scene, 8)
    await scene.job(run_in=60.0)
    await scene.job(task="other", run_in=60.0)
    before = {depth.task: depth for depth in await queues.depths(scene.link, 30.0)}
    assert (before[TASK].due, before[TASK].scheduled, before[TASK].exact) == (5, 1, False)
    assert (before["other"].due, before["other"].scheduled, before["other"].exact) == (0, 1, True)
    assert await rollups.count_queues(scene.link) == 10
    after = {depth.task: depth for depth in await queues.depths(scene.link, 30.0)}
    assert (after[TASK].due, after[TASK].scheduled, after[TASK].exact) == (8, 1, False)
    assert after[TASK].oldest_seconds == pytest.approx(10, abs=5)
    await scene.ask("UPDATE errander.queue_counts SET counted_at = now() - interval '2 minutes'")
    old = {depth.task: depth for depth in await queues.depths(scene.link, 30.0)}
    assert old[TASK].due == 5, "a count of long ago says nothing"


async def test_an_expired_job_is_not_due(scene: Scene) -> None:
    await scene.job(expires_in=-1.0)
    await scene.job(expires_in=60.0)
    (depth,) = await queues.depths(scene.link, 30.0)
    assert (depth.due, depth.scheduled) == (1, 0)


async def test_a_short_queue_is_not_counted_by_the_leader_and_what_it_counted_before_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "COUNTED_AT_EACH_LOOK", 2)
    await deep(scene, 3)
    assert await rollups.count_queues(scene.link) == 3
    await scene.ask("DELETE FROM errander.ready")
    assert await rollups.count_queues(scene.link) == 0
    assert await scene.ask("SELECT 1 FROM errander.queue_counts") == []


async def test_beyond_the_sample_the_share_of_what_has_failed_before_is_estimated(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "WAITING_SAMPLE", 4)
    monkeypatch.setattr(rollups, "COUNTED_AT_EACH_LOOK", 1)
    await deep(scene, 12, retrying=3)

    async def counts() -> stats.Counts:
        depths = await queues.depths(scene.link, 30.0)
        return await stats.counts(scene.link, await figures(scene), depths)

    sampled = await counts()
    assert sampled.estimated
    assert sampled.jobs[JobStatus.PENDING] + sampled.jobs[JobStatus.RETRYING] == 12
    await rollups.count_queues(scene.link)
    counted = await counts()
    assert (counted.jobs[JobStatus.PENDING], counted.jobs[JobStatus.RETRYING]) == (9, 3)
