"""What ended is counted once: whoever counts, whenever a finish commits, and whatever becomes of the job later."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db import rollups
from db.lifecycle import JobStatus
from tests.db.counting import EVERYTHING, events, figures, fold, mark, present, replay, replay_on, totals
from tests.db.pruning import prune_jobs
from tests.db.scene import Scene
from tests.db.texts import Texts


@pytest.fixture
async def counted(scene: Scene) -> AsyncIterator[Scene]:
    """A database whose mark stands a week back."""
    await mark(scene, "now() - interval '7 days'")
    yield scene


# -- counting --------------------------------------------------------------------------------------------------------


async def test_every_end_is_counted_once_however_far_a_step_goes(counted: Scene) -> None:
    for n in range(30):
        await counted.job(("SUCCESS", "FAILED", "CANCELLED")[n % 3], finished_ago=1.0 + n * 3000.0)
    folded = 0
    while (step := await fold(counted, step=40_000.0)).behind > 0:
        folded += step.finished
    assert folded + step.finished == 30
    assert await totals(counted) == {"SUCCESS": 10, "FAILED": 10, "CANCELLED": 10}
    assert await events(counted) == await totals(counted)
    assert (await fold(counted)).finished == 0
    assert await totals(counted) == {"SUCCESS": 10, "FAILED": 10, "CANCELLED": 10}


async def test_nothing_is_counted_before_the_margin_has_passed(counted: Scene) -> None:
    await counted.job("SUCCESS", finished_ago=rollups.MARGIN / 2)
    await counted.job("SUCCESS", finished_ago=rollups.MARGIN + 5.0)
    assert (await fold(counted, margin=rollups.MARGIN)).finished == 1
    assert (await fold(counted, margin=0.0)).finished == 1


async def test_old_ends_are_rolled_up_as_coarsely_as_they_would_be_by_now(counted: Scene) -> None:
    for ago in (10.0, 2 * 3600.0, 3 * 86_400.0):
        await counted.job("SUCCESS", finished_ago=ago)
    while (await fold(counted, step=600.0)).behind > 0:
        pass
    rows = await counted.ask("SELECT span FROM errander.rollups ORDER BY span")
    assert [row["span"] for row in rows] == [rollups.RECENT, rollups.MIDDLE, rollups.OLD]


async def test_two_who_count_at_once_count_each_end_once(counted: Scene) -> None:
    for n in range(40):
        await counted.job("SUCCESS", finished_ago=1.0 + n)

    async def count() -> int:
        found = 0
        for _ in range(20):
            step = await rollups.fold(counted.database, step=EVERYTHING, margin=0.0)
            found += step.finished if step else 0
        return found

    assert sum(await asyncio.gather(*(count() for _ in range(4)))) == 40
    assert await totals(counted) == {"SUCCESS": 40}


async def test_who_finds_the_mark_held_leaves_it_alone(counted: Scene) -> None:
    await counted.job("SUCCESS", finished_ago=1.0)
    async with counted.database.begin() as link:
        assert await link.row("lock_rollups", margin=0.0, longest=rollups.LONGEST) is not None
        assert await rollups.fold(counted.database, step=EVERYTHING, margin=0.0) is None
        assert await rollups.merge(counted.database, n=10) == 0
    assert (await fold(counted)).finished == 1


async def test_a_step_that_fails_counts_nothing_and_is_made_again(counted: Scene, texts: Texts) -> None:
    await counted.job("SUCCESS", finished_ago=1.0)
    before = await counted.ask("SELECT folded_until FROM errander.rollup_marks")
    texts.replace("fold_finished", "SELECT count(*) AS finished FROM ended", "SELECT 1 / 0 AS finished FROM ended")
    with pytest.raises(Exception, match="zero"):
        await fold(counted)
    assert await totals(counted) == {}
    assert await counted.ask("SELECT folded_until FROM errander.rollup_marks") == before
    texts.replace("fold_finished", "SELECT 1 / 0 AS finished FROM ended", "SELECT count(*) AS finished FROM ended")
    assert (await fold(counted)).finished == 1


# -- late commits ----------------------------------------------------------------------------------------------------


async def finish_and_hold(counted: Scene) -> tuple[asyncpg.Connection[Any], datetime]:
    """A finish that is not committed, in a transaction that began before now."""
    worker = await counted.worker()
    job = await counted.job()
    (won,) = await counted.claim(worker, job)
    connection = await asyncpg.connect(counted.database.dsn)
    await connection.execute("BEGIN")
    began = await connection.fetchval("SELECT now()")
    await connection.execute(
        "UPDATE errander.jobs SET status = 'SUCCESS', finished_at = now() WHERE id = $1 AND attempt = $2",
        job,
        won.attempt,
    )
    return connection, began


async def test_a_finish_that_commits_late_is_counted_however_long_its_transaction_was_held_open(
    counted: Scene,
) -> None:
    held, began = await finish_and_hold(counted)
    try:
        await counted.job("FAILED", finished_ago=0.0)  # ended after the held one began, and commits before it
        folded = await fold(counted, margin=0.0)
        assert folded.until <= began, "the mark must not pass a finish that may still be committed"
        await held.execute("COMMIT")
    finally:
        await held.close()
    await fold(counted)
    assert await totals(counted) == {"SUCCESS": 1, "FAILED": 1}


async def test_without_a_look_at_the_sessions_that_finish_would_be_lost(counted: Scene, texts: Texts) -> None:
    texts.replace("lock_rollups", "a.backend_xid IS NOT NULL", "false")
    texts.replace("lock_rollups", "OR a.xact_start >", "OR now() <")
    held, began = await finish_and_hold(counted)
    try:
        assert (await fold(counted, margin=0.0)).until > began
        await held.execute("COMMIT")
    finally:
        await held.close()
    await fold(counted)
    assert await totals(counted) == {}


async def test_a_transaction_that_has_not_written_yet_is_waited_for(counted: Scene) -> None:
    worker = await counted.worker()
    job = await counted.job()
    await counted.claim(worker, job)
    connection = await asyncpg.connect(counted.database.dsn)
    try:
        await connection.execute("BEGIN")
        began = await connection.fetchval("SELECT now()")
        assert (await fold(counted)).until <= began
        await connection.execute(
            "UPDATE errander.jobs SET status = 'SUCCESS', finished_at = now() WHERE id = $1",
            job,
        )
        await connection.execute("COMMIT")
    finally:
        await connection.close()
    await fold(counted)
    assert await totals(counted) == {"SUCCESS": 1}


async def test_one_that_can_write_no_more_is_not_waited_for(counted: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "LONGEST", 0.0)
    connection = await asyncpg.connect(counted.database.dsn)
    try:
        await connection.execute("BEGIN")
        began = await connection.fetchval("SELECT now()")
        assert (await fold(counted)).until > began
    finally:
        await connection.close()


async def test_a_session_that_hides_its_transaction_is_given_the_longest_time(counted: Scene) -> None:
    connection = await asyncpg.connect(counted.database.dsn)
    try:
        await connection.execute("SET track_activities = off")
        await connection.execute("BEGIN")
        began = await connection.fetchval("SELECT now()")
        until = (await fold(counted)).until
        assert timedelta(seconds=rollups.LONGEST + 5) > began - until > timedelta(seconds=rollups.LONGEST - 5)
    finally:
        await connection.close()


async def test_the_longest_time_is_longer_than_the_limits_of_the_role_let_a_transaction_wait(counted: Scene) -> None:
    connection = await asyncpg.connect(counted.database.dsn)
    try:
        seconds = await connection.fetchval(
            "SELECT sum(setting::float8) / 1000 FROM pg_settings"
            " WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout')"
        )
    finally:
        await connection.close()
    assert 0 < seconds < rollups.LONGEST


# -- replays and prunes ----------------------------------------------------------------------------------------------


async def test_a_replayed_job_leaves_the_totals_and_stays_an_event(counted: Scene) -> None:
    job = await counted.job("FAILED", finished_ago=30.0)
    await counted.job("FAILED", finished_ago=30.0)
    await fold(counted)
    await replay(counted, job)
    assert (await figures(counted)).totals[JobStatus.FAILED] == 1, "at once, before the leader counts"
    await fold(counted)
    assert await totals(counted) == {"FAILED": 1}
    assert await events(counted) == {"FAILED": 2}
    assert (await figures(counted)).totals[JobStatus.FAILED] == 1


async def test_a_job_that_was_replayed_before_it_was_counted_was_still_an_event(counted: Scene) -> None:
    job = await counted.job("CANCELLED", finished_ago=30.0)
    await replay(counted, job)
    assert (await figures(counted)).totals[JobStatus.CANCELLED] == 0
    await fold(counted)
    assert await totals(counted) == {}
    assert await events(counted) == {"CANCELLED": 1}


async def test_an_end_and_its_replay_in_different_steps_meet_at_nothing(counted: Scene) -> None:
    job = await counted.job("FAILED", finished_ago=3000.0)
    await replay(counted, job)
    await fold(counted, margin=2000.0)
    assert await totals(counted) == {"FAILED": 1}, "as it was then: final, and not yet replayed"
    assert (await figures(counted)).totals[JobStatus.FAILED] == 0, "as it is now"
    await fold(counted)
    assert await totals(counted) == {}
    assert await events(counted) == {"FAILED": 1}


async def test_a_replay_that_began_before_the_end_it_undid_takes_off_nothing_that_was_not_counted(
    counted: Scene,
) -> None:
    async with counted.database.begin() as link:
        await link.executor.fetchval("SELECT now()")
        job = await counted.job("FAILED", finished_ago=0.0)
        await replay_on(link, job)
        (row,) = await link.executor.fetch(
            "SELECT h.at < (h.detail ->> 'finished_at')::timestamptz AS before FROM errander.history h"
        )
        assert row["before"]
    await fold(counted)
    assert await totals(counted) == {}
    assert await events(counted) == {"FAILED": 1}


async def test_a_pruned_job_leaves_the_totals_and_stays_an_event(counted: Scene) -> None:
    for ago in (60.0, 60.0, 1.0):
        await counted.job("SUCCESS", finished_ago=ago)
    await fold(counted)
    assert await prune_jobs(counted.link, JobStatus.SUCCESS, seconds=30, n=10) == 2
    assert await totals(counted) == {"SUCCESS": 1}
    assert await events(counted) == {"SUCCESS": 3}
    assert (await figures(counted)).totals == await present(counted)


async def test_a_job_that_is_pruned_before_it_was_counted_is_taken_off_nothing(counted: Scene) -> None:
    await counted.job("SUCCESS", finished_ago=60.0)
    assert await prune_jobs(counted.link, JobStatus.SUCCESS, seconds=30, n=10) == 1
    await fold(counted)
    assert await totals(counted) == {}


async def test_a_prune_waits_for_a_count_and_takes_off_what_that_has_counted(counted: Scene) -> None:
    await counted.job("SUCCESS", finished_ago=60.0)
    async with counted.database.begin() as link:
        held = await link.row("lock_rollups", margin=0.0, longest=rollups.LONGEST)
        assert held is not None
        pruning = asyncio.create_task(prune_jobs(counted.link, JobStatus.SUCCESS, seconds=30, n=10))
        while not await counted.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert not pruning.done()
        await link.row("fold_finished", since=held["folded_until"], until=held["settled_until"], span=rollups.RECENT)
    assert await pruning == 1
    assert await totals(counted) == {}


async def test_figures_equal_the_jobs_after_any_traffic(counted: Scene) -> None:
    ended = Counter[str]()
    for turn in range(12):
        made = [await counted.job(status, finished_ago=0.0) for status in ("FAILED", "CANCELLED", "SUCCESS", "FAILED")]
        ended.update({"FAILED": 2, "CANCELLED": 1, "SUCCESS": 1})
        if turn % 2:
            await fold(counted)
        await replay(counted, made[turn % 2])
        if turn % 3 == 0:
            await fold(counted)
            await prune_jobs(counted.link, JobStatus.SUCCESS, seconds=0.0, n=1)
        assert (await figures(counted)).totals == await present(counted)
        assert (await figures(counted)).whole
    await fold(counted)
    assert await events(counted) == dict(ended)
    assert {JobStatus(status): n for status, n in (await totals(counted)).items()} == {
        status: n for status, n in (await present(counted)).items() if n
    }


# -- rollups with age ------------------------------------------------------------------------------------------------


async def test_old_rollups_become_coarser_and_lose_nothing(counted: Scene) -> None:
    worker = await counted.worker()
    for n in range(20):
        await counted.job("SUCCESS", finished_ago=7000.0 + n * 25.0, worker=worker, attempt=1)
    await fold(counted, margin=6000.0)  # as if it had been counted then
    fine = await counted.ask("SELECT sum(finished) AS n, sum(timed) AS timed, sum(ran) AS ran FROM errander.rollups")
    bins = await counted.ask(
        "SELECT kind, bin, sum(jobs)::int AS jobs FROM errander.rollup_times GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert await counted.ask("SELECT 1 FROM errander.rollups WHERE span = 10 OFFSET 10")
    while await rollups.merge(counted.database, n=3):
        pass
    assert {row["span"] for row in await counted.ask("SELECT span FROM errander.rollups")} == {rollups.MIDDLE}
    assert {row["span"] for row in await counted.ask("SELECT span FROM errander.rollup_times")} == {rollups.MIDDLE}
    assert fine == await counted.ask(
        "SELECT sum(finished) AS n, sum(timed) AS timed, sum(ran) AS ran FROM errander.rollups"
    )
    assert bins == await counted.ask(
        "SELECT kind, bin, sum(jobs)::int AS jobs FROM errander.rollup_times GROUP BY 1, 2 ORDER BY 1, 2"
    )


async def test_the_oldest_rollups_are_deleted_and_the_totals_stay(counted: Scene) -> None:
    await mark(counted, "now() - interval '200 days'")
    worker = await counted.worker()
    for days in (100, 50):
        await counted.job("SUCCESS", finished_ago=days * 86_400.0, worker=worker, attempt=1)
    await fold(counted, step=110 * 86_400.0)
    await fold(counted, step=110 * 86_400.0)
    while await rollups.merge(counted.database, n=1):
        pass
    assert await events(counted) == {"SUCCESS": 1}
    assert await counted.ask("SELECT 1 FROM errander.rollup_times WHERE at < now() - interval '90 days 1 hour'") == []
    assert await totals(counted) == {"SUCCESS": 2}
