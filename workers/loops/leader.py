"""Leadership: a term in a row of PostgreSQL, renewed only by completed ticks, resigned on the way out.

Nothing depends on there being one leader: every statement of the loops is fenced, so two are harmless. A leader that
hangs in a tick renews nothing, and another takes over when its term has passed.
"""

import time
from collections.abc import Sequence
from uuid import UUID

import structlog

from db import failpoints, leader
from db.engine import Link
from db.errors import DatabaseError
from workers.loops.base import Loop

_log = structlog.get_logger("errander.leader")

_RENEWALS = 4  # a term: one late renewal does not lose it


class Leader:
    """One process's part in leading. `step()` is called about once a second."""

    def __init__(self, link: Link, worker: UUID, loops: Sequence[Loop], *, term: float) -> None:
        self._link = link
        self._worker = worker
        self._loops = loops
        self._term = term
        self._renew_at = 0.0
        self.leads = False
        """Whether this process led after its last step."""

    async def step(self) -> None:
        """Tries to lead; if it does, runs what is due and renews. Raises nothing."""
        try:
            if time.monotonic() >= self._renew_at or not self.leads:
                await self._renew()
            if self.leads:
                for loop in self._loops:
                    await loop.tick()
        except DatabaseError as error:
            if self.leads:
                _log.warning("leader.step_failed", error=str(error))
            self._renew_at = 0.0  # ask again whether it still leads
        except Exception:  # a fault in one loop must not end leading for good
            _log.exception("leader.step_broken")
            self._renew_at = 0.0

    async def _renew(self) -> None:
        await failpoints.reach("leader.electing")
        number = await leader.lead(self._link, self._worker, seconds=self._term)
        await failpoints.reach("leader.elected")
        self._renew_at = time.monotonic() + self._term / _RENEWALS
        if number is not None and not self.leads:
            _log.info("leader.elected", worker=str(self._worker), term=number)
            for loop in self._loops:
                loop.hurry()
        elif number is None and self.leads:
            _log.info("leader.superseded", worker=str(self._worker))
        self.leads = number is not None

    async def resign(self) -> None:
        """Gives the term up, so that another need not wait for its end."""
        if self.leads:
            self.leads = False
            await failpoints.reach("leader.resigning")
            await leader.resign(self._link, self._worker)
