"""Leadership: a term in a row of PostgreSQL, renewed only after completed steps, resigned on the way out.

Nothing depends on there being one leader: every statement of the loops is fenced, so two are harmless. A leader that
hangs in a step renews nothing, and another takes over when its term has passed. One whose loop fails again and again
resigns and steps aside for as long as everybody else needs to ask for the term, so that somebody who can may lead;
where nobody does it leads again, because its other loops, the reaper first, may well do their work. While PostgreSQL is
away nobody steps aside: that is no leader's fault.
"""

import time
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import structlog

from db import failpoints, leader
from db.engine import Link
from db.errors import DatabaseError
from workers.keeping import Kept
from workers.loops.base import Loop

_log = structlog.get_logger("errander.leader")

_STEP_SECONDS = 1.0
_STEPS = 5  # a term, where it is short
_RENEWALS = 4  # a term: one late renewal does not lose it
_STEPS_ASIDE = 3  # everybody asks once a step, if nothing holds him up
_FAILURES = 3  # of one loop in a row: a lock, or a step that was too large, passes in fewer


class Leader(Kept):
    """One process's part in leading."""

    name = "leader"

    def __init__(self, link: Link, worker: UUID, loops: Sequence[Loop], *, term: float) -> None:
        super().__init__(min(_STEP_SECONDS, term / _STEPS))
        self._link = link
        self._worker = worker
        self._loops = loops
        self._term = term
        self._renew_at = 0.0
        self._over_at = 0.0
        self._aside_until = 0.0
        self._failures: Counter[str] = Counter()
        self.leads = False
        """Whether this process led after its last step."""

    async def run_once(self) -> bool:
        """Tries to lead; if it does, runs what is due, and renews if that went well. Whether it asked for the term.

        Raises DatabaseError in an outage.
        """
        now = time.monotonic()
        asked = False
        if now < self._aside_until:
            return asked
        if not self.leads or now >= self._over_at:
            self.leads = False
            await self._ask()
            asked = True
        if self.leads and await self._tick() and time.monotonic() >= self._renew_at:
            await self._ask()
            asked = True
        return asked

    async def resign(self) -> None:
        """Gives the term up, so that another need not wait for its end."""
        if self.leads:
            self.leads = False
            await failpoints.reach("leader.resigning")
            await leader.resign(self._link, self._worker)

    async def _ask(self) -> None:
        await failpoints.reach("leader.electing")
        sent = time.monotonic()
        number = await leader.lead(self._link, self._worker, seconds=self._term)
        await failpoints.reach("leader.elected")
        self._renew_at = sent + self._term / _RENEWALS
        self._over_at = sent + self._term
        if number is not None and not self.leads:
            _log.info("leader.elected", worker=str(self._worker), term=number)
            self._failures.clear()
            for loop in self._loops:
                loop.hurry()
        elif number is None and self.leads:
            _log.info("leader.superseded", worker=str(self._worker))
        self.leads = number is not None

    async def _tick(self) -> bool:
        """Runs the loops that are due, up to one that fails. Whether none did."""
        for loop in self._loops:
            if not loop.due():
                continue
            try:
                await loop.tick()
            except DatabaseError as error:
                _log.warning("leader.step_failed", loop=loop.name, error=str(error))
            except Exception:
                _log.exception("leader.step_broken", loop=loop.name)
            else:
                self._failures[loop.name] = 0
                continue
            self._failures[loop.name] += 1
            if self._failures[loop.name] >= _FAILURES:
                await self._step_aside(loop)
            return False
        return True

    async def _step_aside(self, loop: Loop) -> None:
        await self.resign()
        seconds = _STEPS_ASIDE * self.pause
        self._aside_until = time.monotonic() + seconds
        _log.error(
            "leader.stepped_aside",
            loop=loop.name,
            failures=self._failures[loop.name],
            seconds=seconds,
            hint="this process cannot do what a leader does: see leader.step_failed or leader.step_broken before this",
        )
