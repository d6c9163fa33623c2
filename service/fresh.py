"""Answers that are expensive to compute and may be a moment old.

A value is kept for a second, or for twenty times what computing it took, whichever is longer, and for 30 seconds at most.
So a large deployment spends at most a twentieth of one connection on its statistics however often it is asked, as long as
computing them takes less than a second and a half. Whoever comes while a value is being renewed gets the old one, until
that has been overdue for 30 seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")

KEEP_SECONDS = 1.0
"""How long a value is kept at least."""
COST_FACTOR = 20.0
"""How many times longer a value is kept than it took to compute."""
LONGEST_KEEP_SECONDS = 30.0
"""How long a value is kept at most, whatever it cost: nobody should look at older figures without knowing."""
LONGEST_STALE_SECONDS = 30.0
"""How long beyond that it is still given out while it is being renewed; then whoever asks waits for the new one."""


@dataclass(slots=True)
class _Kept:
    value: Any
    at: float
    keep: float


class Fresh:
    """Kept values by name, for one process and event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._renewals: dict[str, asyncio.Task[_Kept]] = {}

    async def get(self, name: str, compute: Callable[[], Awaitable[T]]) -> T:
        """The value of `name`, computed by `compute` where none is fresh. Raises what `compute` raises."""
        kept = self._kept.get(name)
        now = self._clock()
        if kept is not None and now - kept.at < kept.keep:
            return cast("T", kept.value)
        renewal = self._renewals.get(name)
        if renewal is None:
            renewal = asyncio.create_task(self._renew(name, compute), name=f"errander.fresh.{name}")
            self._renewals[name] = renewal
            renewal.add_done_callback(lambda _: self._renewals.pop(name, None))
        elif kept is not None and now - kept.at < kept.keep + LONGEST_STALE_SECONDS:
            return cast("T", kept.value)
        # Shielded: a client that goes away must not take the value from the others who wait for it.
        return cast("T", (await asyncio.shield(renewal)).value)

    async def _renew(self, name: str, compute: Callable[[], Awaitable[Any]]) -> _Kept:
        started = self._clock()
        value = await compute()
        now = self._clock()
        keep = min(max(KEEP_SECONDS, COST_FACTOR * (now - started)), LONGEST_KEEP_SECONDS)
        kept = self._kept[name] = _Kept(value, started, keep)
        return kept

    def forget(self, name: str) -> None:
        """Makes the next look fresh, after this process changed what `name` is computed from."""
        self._kept.pop(name, None)

    async def close(self) -> None:
        """Ends renewals that are under way."""
        renewals = list(self._renewals.values())
        for renewal in renewals:
            renewal.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
