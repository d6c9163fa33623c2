"""The consistency loop: looks for broken rules every few minutes, and keeps what it found.

It runs beside the leader's other loops and never before them: over a connection of its own, because a look takes far
longer than a rescue may wait, and its second look a pause besides. It mends nothing; that takes a person's word
(`errander fsck --repair`).
"""

import time
from uuid import UUID

import structlog

from db import consistency, consistency_kept
from db.consistency import Limits
from db.consistency_rules import RULES, Severity
from db.engine import Database
from workers.keeping import Kept
from workers.loops.base import Loop
from workers.loops.leader import Leader

_log = structlog.get_logger("errander.consistency")

INTERVAL = 300.0
FIRST_SECONDS = 60.0
"""How long a new leader waits: first it rescues what its predecessor has left. One that led until lately is not new."""
_GLANCE_SECONDS = 1.0  # between two looks at whether this process leads


class Consistency(Loop):
    """Reads PostgreSQL, writes one row."""

    name = "consistency"

    def __init__(self, database: Database, worker: UUID, limits: Limits) -> None:
        super().__init__(INTERVAL)
        self._database = database
        self._worker = worker
        self._limits = limits

    def begin(self) -> None:
        """Called when the process begins to lead."""
        self._due = time.monotonic() + FIRST_SECONDS

    async def run_once(self) -> int:
        """One look. Returns how many things it found."""
        started = time.monotonic()
        found = (await consistency.examine(self._database, self._limits)).found
        seconds = time.monotonic() - started
        await consistency_kept.keep(self._database.link, found, worker=self._worker, seconds=seconds)
        for code, one in sorted(found.items()):
            say = _log.error if RULES[code].severity is Severity.ERROR else _log.warning
            say("consistency.broken", code=code, count=one.count, examples=list(one.examples[:5]), hint="errander fsck")
        return sum(one.count for one in found.values())


class WhileLeading(Kept):
    """Runs the loop beside the others of a leader, while its process leads."""

    name = "consistency"

    def __init__(self, leader: Leader, loop: Consistency) -> None:
        super().__init__(_GLANCE_SECONDS)
        self._leader = leader
        self._loop = loop
        self._led = False
        self._led_at = float("-inf")  # when this process was last seen to lead

    async def run_once(self) -> bool:
        """A look, if this process leads and one is due. Whether there was one. Raises DatabaseError in an outage."""
        now = time.monotonic()
        if self._leader.leads and not self._led and now - self._led_at > FIRST_SECONDS:
            self._loop.begin()
        self._led = self._leader.leads
        if not self._led:
            return False
        self._led_at = now
        if not self._loop.due():
            return False
        await self._loop.tick()
        return True
