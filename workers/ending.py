"""Ending a process: the last outcomes, and the way out. One place for a drain, a retirement and a lost lease.

`last_act` writes what could not be stopped: a stuck attempt fails as a timeout, every other goes back free, to start
no sooner than this process is gone. It runs on the job loop, or on the control thread where the job loop stands still.
What has ended is written first, and tried for a while (`patience`). Jobs whose code still runs go back in one last
write, and from the moment in which that is sent the process has less time than they have: whatever is left then, a
locked row or an answer that does not come, is left to the reaper. Then the process leaves directly: no thread,
coroutine or child of it survives to overlap the next attempt.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, NoReturn
from uuid import UUID

import structlog

from db import failpoints, workers
from db.engine import Link
from db.errors import DatabaseError
from workers.attempt import Attempt
from workers.flush import Flush, Item
from workers.held import Held
from workers.outcomes import GivenBack, Outcome

_log = structlog.get_logger("errander.ending")

AGAIN = 75
"""Exit status by which a process asks its supervisor to start it again (EX_TEMPFAIL of sysexits.h)."""
AHEAD_SECONDS = 2.0
"""How far ahead a job goes back whose code may still run for the moment until this process is gone."""
PATIENCE_SECONDS = 10.0
"""How long outcomes of what has ended may take to be confirmed, by the flush and then by `last_act`."""
HASTE_SECONDS = 2.5
"""The same while code still runs: that must go back before a supervisor kills the process (`LEAVING_SECONDS`)."""
_EXIT_SECONDS = 0.5
"""How much of `AHEAD_SECONDS` is kept for leaving itself: killing children, the last lines of the log."""
RESIGN_SECONDS = 0.5  # a successor waits for the end of the term otherwise, so it is worth no more
_AGAIN_SECONDS = 0.1  # between two tries


def patience(*, code_runs: bool) -> float:
    """Seconds for outcomes of what has ended, each for the flush that leaves and for `last_act`."""
    return HASTE_SECONDS if code_runs else PATIENCE_SECONDS


def last_outcomes(held: Held, culprits: Collection[Attempt]) -> list[Item[Outcome]]:
    """What is to be written about everything that is still held."""
    items: list[Item[Outcome]] = []
    for entry in held.snapshot().values():
        attempt = entry.attempt
        if attempt.outcome is not None:
            items.append(Item(attempt, attempt.outcome))
        elif attempt in culprits:
            items.append(Item(attempt, attempt.timed_out(), ahead=AHEAD_SECONDS))
        else:
            begun = attempt.begun_at is not None
            outcome = GivenBack("its worker process ended", begun=begun, delay=AHEAD_SECONDS if begun else 0.0)
            items.append(Item(attempt, outcome))
    return items


async def last_act(
    link: Link, worker: UUID, held: Held, culprits: Collection[Attempt], resign: Callable[[], Awaitable[None]]
) -> None:
    """Writes the last outcomes, gives up leadership by `resign`, and ends the lease.

    Gives up after a while: then the reaper does the rest. Where code still runs, whoever calls this must leave at once.
    """
    flush = Flush(link, worker, held, publisher=None, progress=None)
    items = last_outcomes(held, culprits)
    ended = [item for item in items if not _may_run(item)]
    seconds = patience(code_runs=len(ended) < len(items))
    await _within(seconds, _written(flush, link, ended, time.monotonic() + seconds, probe=worker))
    # before the last write, because nothing may come between that and the end
    await resigned(resign)
    seconds = AHEAD_SECONDS - _EXIT_SECONDS
    await _within(seconds, _given_back(flush, link, held, culprits, worker=worker, seconds=seconds))


def _may_run(item: Item[Outcome]) -> bool:
    return item.attempt.outcome is None and item.attempt.begun_at is not None


async def resigned(resign: Callable[[], Awaitable[None]]) -> None:
    """Gives up leadership, if that is quick. Raises nothing."""

    async def call() -> None:
        try:
            await resign()
        except Exception as error:  # whatever it is: the term ends by itself
            _log.warning("ending.not_resigned", error=repr(error))

    await _within(RESIGN_SECONDS, call())


async def _given_back(
    flush: Flush, link: Link, held: Held, culprits: Collection[Attempt], *, worker: UUID, seconds: float
) -> None:
    # What runs comes first: an outcome that PostgreSQL refuses must not keep it from being sent.
    items = sorted(last_outcomes(held, culprits), key=_may_run, reverse=True)
    if await _written(flush, link, items, time.monotonic() + seconds):
        try:
            await failpoints.reach("ending.written")
            await workers.leave(link, worker)
        except DatabaseError as error:
            _log.warning("ending.lease_left", error=str(error))


async def _written(
    flush: Flush, link: Link, items: Sequence[Item[Outcome]], deadline: float, *, probe: UUID | None = None
) -> bool:
    """Writes `items`, and those that were locked again, until `deadline` by the monotonic clock. Whether all are.

    `probe`: a worker, in whose name PostgreSQL is asked something even if nothing is to be written, to see it answer.
    """
    while True:
        try:
            await failpoints.reach("ending.writing")
            if items:
                items = await flush.write(link, items)
            if not items:
                if probe is not None:
                    await workers.roll_call(link, probe)
                return True
        except DatabaseError as error:
            _log.warning("ending.unavailable", error=str(error))
        if time.monotonic() > deadline - _AGAIN_SECONDS:
            _log.error("ending.unwritten", jobs=len(items), hint="their lease runs out, then they are rescued")
            return False
        await asyncio.sleep(_AGAIN_SECONDS)


async def _within(seconds: float, work: Coroutine[Any, Any, object]) -> None:
    """Does it, and no longer than that: what a driver still waits for then ends with the process."""
    task = asyncio.create_task(work, name="errander.ending")
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        task.result()
    task.cancel()


def leave(*, again: bool, supervised: bool) -> NoReturn:
    """Leaves without looking back. `again`: this process is to run again, by its supervisor or by itself."""
    failpoints.hit("ending.leaving")
    with contextlib.suppress(Exception):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    if again and not supervised:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line, unchanged
    os._exit(AGAIN if again else 0)
