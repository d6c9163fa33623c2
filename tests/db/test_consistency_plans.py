"""What a look costs: nothing that is large is read from end to end, whatever the statistics say, with all it is given."""

from typing import Any

import pytest

from db import statements
from db.consistency import Limits, look
from db.consistency_sweep import CHUNK, WALKS, sweep
from db.engine import Database, Link
from tests.db.test_plans import FINISHED, RUNNING, WAITING, burst, plan_of, read_whole, settled, used

__all__ = ["burst", "settled"]

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every statement that is run, with its values."""
    made: Calls = []
    fetch = Link.fetch

    async def noted(link: Link, name: str, /, **binds: Any) -> list[Any]:
        made.append((name, binds))
        return await fetch(link, name, **binds)

    monkeypatch.setattr(Link, "fetch", noted)
    return made


@pytest.mark.parametrize("kind", ["burst", "settled"])
async def test_the_default_look_reads_no_large_table_whole(burst: str, settled: str, calls: Calls, kind: str) -> None:
    url = burst if kind == "burst" else settled
    async with await Database.open(url) as database:
        seen = await look(database, Limits(window=2000))
    assert seen.looked_at == {"jobs": 2000 + min(2000, FINISHED), "ready": 4000, "history": 2000, "running": RUNNING}
    assert len(calls) == 9
    await none_is_read_whole(url, calls)


@pytest.mark.parametrize("kind", ["burst", "settled"])
async def test_a_step_of_a_full_sweep_reads_no_large_table_whole(
    burst: str, settled: str, calls: Calls, kind: str
) -> None:
    url = burst if kind == "burst" else settled
    for walk in WALKS:
        values = {"most": 20} | walk.binds(Limits(), None)
        calls.append((walk.statement, values))
    await none_is_read_whole(url, calls)


async def none_is_read_whole(url: str, calls: Calls) -> None:
    for name, binds in calls:
        statement = statements.load(name, "errander")
        plan = await plan_of(url, statement.sql, statement.values(binds))
        assert read_whole(plan) == set(), f"{name}: {sorted(used(plan))}"


async def test_a_sweep_of_a_large_table_looks_at_each_row_once(burst: str) -> None:
    async with await Database.open(burst) as database:
        looked_at: dict[str, int] = {}
        for walk in WALKS:
            looked_at |= (await sweep(database, walk, Limits())).looked_at
    assert looked_at == {
        "running": RUNNING,
        "ready": WAITING,
        "jobs": WAITING + RUNNING + FINISHED,
        "history": FINISHED,
    }
    assert looked_at["jobs"] > 10 * CHUNK
