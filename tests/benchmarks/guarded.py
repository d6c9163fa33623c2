"""What authentication and limits cost a submit: two API processes of one build, one that asks who sends, and one that does not."""

from __future__ import annotations

import statistics
from typing import Final

from db.engine import Database
from service.auth.issuing import Wish, issue
from tests.benchmarks.figures import Row, Series
from tests.benchmarks.ground import Ground
from tests.benchmarks.load import Load, run
from tests.benchmarks.rows import row
from tests.benchmarks.submitting import BODY, limits

# Far more than can be sent, so that everything is counted and nothing is refused.
_LIMITS: Final = {
    "ERRANDER_AUTH": "required",
    "ERRANDER_RATE_LIMIT_KEY": "10000000/minute",
    "ERRANDER_RATE_LIMIT_TENANT": "20000000/minute",
    "ERRANDER_QUEUE_LIMIT": "100000000",
}
_KINDS: Final = ("unkeyed", "keyed")
_TURNS: Final = (True, False, False, True)
"""With, without, without, with: what the machine does meanwhile falls on both alike."""


async def guarded(ground: Ground) -> list[Row]:
    """Requests a second with everything on, against those with everything off, side by side in each round."""
    rates: dict[tuple[str, bool], list[float]] = {(kind, on): [] for kind in _KINDS for on in (True, False)}
    notes: set[str] = set()
    async with ground.database() as ledger:
        token = await _key(ledger.url)
        asks = await ground.programs.api(ledger.environment | _LIMITS)
        open_to_all = await ground.programs.api(ledger.environment)
        for _ in range(ground.sizes.rounds):
            for kind in _KINDS:
                turns: dict[bool, list[float]] = {True: [], False: []}
                for on in _TURNS:
                    load = Load(
                        (asks if on else open_to_all).port,
                        "POST",
                        ("/v1/jobs",),
                        BODY,
                        keyed=kind == "keyed",
                        seconds=ground.sizes.seconds,
                        token=token if on else None,
                    )
                    taken = await run(load)
                    turns[on].append(taken.rate)
                    notes |= limits(taken)
                    await ledger.empty()
                for on, measured in turns.items():
                    rates[kind, on].append(statistics.fmean(measured))
        if "limits.redis_unavailable" in asks.log:
            notes.add("for a while requests were counted by the process alone, which is cheaper")
        ground.programs.end(asks, open_to_all)
    said = tuple(sorted(notes))
    return [
        row(
            f"guarded.{kind}", Series.of(rates[kind, True]), Series.of(rates[kind, False]), notes=said if not at else ()
        )
        for at, kind in enumerate(_KINDS)
    ]


async def _key(url: str) -> str:
    """An API key that may submit and read."""
    async with await Database.open(url, size=1) as database:
        _, text = await issue(
            database.link, b"", Wish("default", "bench", ["jobs:submit", "jobs:read"], "tests.benchmarks")
        )
        return text
