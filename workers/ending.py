"""Ending a process: the last outcomes, and the way out. One place for a drain, a retirement and a lost lease.

`last_act` writes what could not be stopped: a stuck attempt fails as a timeout, every other goes back free, to start
no sooner than this process is gone. It runs on the job loop, or on the control thread where the job loop stands still.
Then the process leaves directly: no thread, coroutine or child of it survives to overlap the next attempt.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Collection, Sequence
from typing import NoReturn
from uuid import UUID

import structlog

from db import failpoints, workers
from db.engine import Link
from db.errors import DatabaseError
from workers.attempt import Attempt
from workers.flush import Flush, Item
from workers.held import Held
from workers.outcomes import GivenBack

_log = structlog.get_logger("errander.ending")

AGAIN = 75
"""Exit status by which a process asks its supervisor to start it again (EX_TEMPFAIL of sysexits.h)."""
AHEAD_SECONDS = 2.0
"""How far ahead a job goes back whose code may still run for the moment until this process is gone."""
_PATIENCE = 10.0  # seconds for the last outcomes while PostgreSQL does not answer


def last_outcomes(held: Held, culprits: Collection[Attempt]) -> list[Item]:
    """What is to be written about everything that is still held."""
    items: list[Item] = []
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


async def last_act(link: Link, worker: UUID, held: Held, culprits: Collection[Attempt]) -> None:
    """Writes the last outcomes and ends the lease. Gives up after a while: then the reaper does the rest."""
    flush = Flush(link, worker, held, publisher=None, progress=None)
    deadline = time.monotonic() + _PATIENCE
    items: Sequence[Item] = last_outcomes(held, culprits)
    while True:
        try:
            await failpoints.reach("ending.writing")
            if items:
                items = await flush.write(link, items)
            if not items:
                await failpoints.reach("ending.written")
                await workers.leave(link, worker)
                return
        except DatabaseError as error:
            _log.warning("ending.unavailable", error=str(error))
        if time.monotonic() > deadline:
            _log.error("ending.unwritten", jobs=len(items), hint="their lease runs out, then they are rescued")
            return
        await asyncio.sleep(0.1)


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
