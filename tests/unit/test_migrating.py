"""`ERRANDER_MIGRATE=auto` in the API: tried until it succeeds."""

import pytest

from db.errors import Unavailable
from service import migrating
from service.settings import CatalogueSettings
from tests.fixtures.logs import captured


async def test_neither_an_outage_nor_a_fault_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [Unavailable("connection refused"), KeyError("a fault of ours"), None]
    tries: list[Exception | None] = []

    async def bring_up(_: object) -> None:
        tries.append(ends[len(tries)])
        if error := tries[-1]:
            raise error

    monkeypatch.setattr(migrating, "bring_up", bring_up)
    monkeypatch.setattr(migrating, "_PAUSE", 0.0)
    await migrating.bring_up_when_possible(CatalogueSettings(database_url="postgresql://localhost/none"))
    assert tries == ends


async def test_a_fault_that_lasts_is_told_in_full_once_and_tried_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    ends = [*["a fault of ours"] * 8, "another"]

    async def bring_up(_: object) -> None:
        if len(pauses) < len(ends):
            raise KeyError(ends[len(pauses)])

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(migrating, "bring_up", bring_up)
    monkeypatch.setattr("service.migrating.asyncio.sleep", sleep)
    with captured(migrating) as lines:
        await migrating.bring_up_when_possible(CatalogueSettings(database_url="postgresql://localhost/none"))
    assert [line["log_level"] for line in lines] == ["error", *["warning"] * 7, "error", "info"]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
