"""Keeps parts running: starts them stage by stage, brings back what dies, stops them in reverse.

    starting ── ready ──> running ── died ──> waiting (backoff) ──> running …
        │                    │                    │
        └──────── stop ──────┴────────────────────┴──> stopped

A part that ends before it was ever ready fails the start; later it is started again, at once after exit code 75
(a worker that retired), else after a wait that doubles. A part whose `exit_refused` is its exit code before any life of
it has lasted is not: that would go on for ever. One supervisor belongs to one event loop on the main thread.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from service.supervise.keeper import Keeper
from service.supervise.output import Console
from service.supervise.part import Part


def doubling(deaths: int) -> float:
    """Seconds to wait before the start after the n-th death in a row: 0.1, 0.2, 0.4, … at most 10."""
    return float(min(10.0, 0.1 * 2 ** (min(deaths, 20) - 1)))


class Supervisor:
    """Runs parts. `records` is the folder for the records of `records.py`; None keeps none."""

    def __init__(
        self, console: Console, *, records: Path | None = None, backoff: Callable[[int], float] = doubling
    ) -> None:
        self._console = console
        self._records = records
        self._backoff = backoff
        self._keepers: dict[str, Keeper] = {}
        self._leaving: set[asyncio.Task[int]] = set()
        self._hurry = asyncio.Event()

    async def start(self, parts: Sequence[Part]) -> None:
        """Start parts together and return when all are ready. Raises PartError; what runs then still needs `stop`."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    keeper = self._keepers[part.name] = self._keeper(part)
                    group.create_task(keeper.start())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def run(self, part: Part) -> int:
        """Run a part that ends by itself, once, and return its exit code. Raises OSError when it cannot start."""
        return await self._keeper(part).run_once()

    async def replace(self, name: str) -> None:
        """Start a new process of a running part, and let the old one drain beside it."""
        old = self._keepers[name]
        new = self._keepers[name] = self._keeper(old.part)
        leaving = asyncio.create_task(old.stop())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        new.start_whatever_comes()

    def pids(self) -> dict[str, int]:
        """The process id of every part that runs right now, by name."""
        return {name: keeper.child.pid for name, keeper in self._keepers.items() if keeper.child is not None}

    async def finished(self) -> int:
        """Wait until no part runs or will be started again; the first exit code that is not 0, else 0.

        Raises PartError as soon as one refuses to start; the others still run then, and need `stop`.
        """
        codes = await asyncio.gather(*(keeper.finished() for keeper in self._keepers.values()))
        return next((code for code in codes if code != 0), 0)

    def hurry(self) -> None:
        """Shorten every grace from now on."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stop everything, the last stage first; returns when nothing runs."""
        stages = sorted({keeper.part.stage for keeper in self._keepers.values()}, reverse=True)
        if self._leaving:
            await asyncio.gather(*self._leaving)
        for stage in stages:
            await asyncio.gather(*(k.stop() for k in self._keepers.values() if k.part.stage == stage))
        self._keepers.clear()

    def _keeper(self, part: Part) -> Keeper:
        return Keeper(part, self._console, self._records, self._backoff, self._hurry)
