"""What ended, counted step by step in a test's own time, and read back from the tables."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from db import rollups, stats
from db.lifecycle import FINAL, JobStatus
from tests.db.scene import Scene

EVERYTHING = 10 * 86_400.0
"""Seconds of a step that is longer than anything here is old."""


async def mark(scene: Scene, moment: str) -> None:
    await scene.ask(f"UPDATE errander.rollup_marks SET folded_until = {moment}")


async def fold(scene: Scene, *, margin: float = 0.0, step: float = EVERYTHING) -> rollups.Folded:
    folded = await rollups.fold(scene.database, step=step, margin=margin)
    assert folded is not None
    return folded


async def totals(scene: Scene) -> dict[str, int]:
    """As the leader has counted them."""
    rows = await scene.ask("SELECT status, jobs FROM errander.rollup_totals WHERE jobs <> 0")
    return {row["status"]: row["jobs"] for row in rows}


async def events(scene: Scene) -> dict[str, int]:
    """Ends in the rollups, of all spans."""
    rows = await scene.ask("SELECT status, sum(finished)::int AS n FROM errander.rollups GROUP BY status")
    return {row["status"]: row["n"] for row in rows}


async def present(scene: Scene) -> dict[JobStatus, int]:
    """Final jobs that are there, by reading all of them."""
    rows = await scene.ask("SELECT status, count(*)::int AS n FROM errander.jobs GROUP BY status")
    found = {JobStatus(row["status"]): row["n"] for row in rows if row["status"] in FINAL}
    return dict.fromkeys(FINAL, 0) | found


async def replay(scene: Scene, *ids: UUID) -> None:
    async with scene.database.begin() as link:
        await replay_on(link, *ids)


async def replay_on(link: Any, *ids: UUID) -> None:
    await link.fetch("lock_jobs", ids=list(ids), tenant="default")
    done = await link.fetch(
        "replay", ids=list(ids), tenant="default", delay=0.0, payload=None, max_attempts=None, reason=None
    )
    assert len(done) == len(ids)


async def figures(scene: Scene) -> stats.Ended:
    return await stats.ended(scene.link)
