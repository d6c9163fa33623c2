"""`ERRANDER_MIGRATE=auto` in the API: tried until it succeeds."""

import pytest

from db.errors import Unavailable
from service import migrating
from service.settings import CatalogueSettings


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
