"""What the control thread keeps doing: one step after another, for as long as the process lives.

A step that fails ends nothing. An outage is logged when it begins and when it ends, a fault of ours each time and with
its traceback, and the next step comes all the same. Tests call `run_once()`.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import NoReturn

import structlog

from db.errors import DatabaseError

_log = structlog.get_logger("errander.control")


class Kept(ABC):
    """One thing that is kept up."""

    name: str
    """Its name in the log."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        """Seconds from one step to the next."""

    @abstractmethod
    async def run_once(self) -> bool:
        """One step. Whether it asked PostgreSQL anything: only such a step shows the end of an outage.

        Raises DatabaseError in an outage.
        """

    async def rest(self) -> None:
        """Waits until the next step is due."""
        await asyncio.sleep(self.pause)


async def keep(kept: Kept) -> NoReturn:
    """Keeps it up until it is cancelled."""
    fails = False
    while True:
        try:
            asked = await kept.run_once()
        except DatabaseError as error:
            if not fails:
                _log.warning("control.unavailable", step=kept.name, error=str(error))
            fails = True
        except Exception:  # a fault of ours in one step must end neither the heartbeat nor the loops
            _log.exception("control.broken_step", step=kept.name)
        else:
            if fails and asked:
                _log.info("control.available", step=kept.name)
                fails = False
        await kept.rest()
