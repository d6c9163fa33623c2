"""The roll call: what PostgreSQL says this worker runs, against what it holds.

Three findings. *Stray*: a row that this process does not hold, because the answer of a claim was lost; it is given back
once two calls in a row have shown it, it was held at neither nor now, and every claim begun before the first call was
sent has ended. *Lost*: an attempt held since before the call was sent, still held, and not in the answer: somebody
rescued it; its code is stopped and its outcome dropped. *Cancelled*: somebody asked for it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from db import attempts, failpoints, workers
from db.engine import Link
from db.workers import Held as Row
from workers.attempt import Attempt, Stop
from workers.held import Entry
from workers.keeping import Kept
from workers.orders import Orders, Shared

_log = structlog.get_logger("errander.control")

ROLL_CALL_SECONDS = 0.5
"""How often PostgreSQL is asked what this worker runs while it runs anything."""
_EXTRA_CALLS = 3
"""What an unanswered claim won shows in two calls in a row, the first of which may have been sent before it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one call has shown."""

    strays: list[Row] = field(default_factory=list)
    lost: list[Attempt] = field(default_factory=list)
    cancelled: list[Attempt] = field(default_factory=list)


class RollCall:
    """Remembers the last call. Pure: it is told the times."""

    def __init__(self) -> None:
        self._unheld: dict[tuple[UUID, int], float] = {}

    def compare(
        self, rows: Sequence[Row], held: Mapping[UUID, Entry], *, sent: float, oldest_claim: float | None
    ) -> Findings:
        """Takes one answer: `held` as it is now, `sent` when the call was sent, both by the monotonic clock."""
        findings = Findings()
        answered = {row.id: row for row in rows}
        unheld: dict[tuple[UUID, int], float] = {}
        for row in rows:
            entry = held.get(row.id)
            if entry is not None and entry.attempt.number == row.attempt:
                if row.cancel:
                    findings.cancelled.append(entry.attempt)
                continue
            key = (row.id, row.attempt)
            first_sent = self._unheld.get(key)
            if first_sent is not None and (oldest_claim is None or oldest_claim > first_sent):
                findings.strays.append(row)
            unheld[key] = sent if first_sent is None else first_sent
        self._unheld = unheld
        for job_id, entry in held.items():
            found = answered.get(job_id)
            gone = found is None or found.attempt != entry.attempt.number
            if gone and entry.since < sent and entry.attempt.outcome is None:
                findings.lost.append(entry.attempt)
        return findings


class RollCalls(Kept):
    """Calls while anything is held, with each beat otherwise, and some times after a claim that was not answered."""

    name = "roll_call"

    def __init__(self, link: Link, worker: UUID, shared: Shared, orders: Orders, *, heartbeat: float) -> None:
        super().__init__(ROLL_CALL_SECONDS)
        self._link = link
        self._worker = worker
        self._shared = shared
        self._orders = orders
        self._heartbeat = heartbeat
        self._roll_call = RollCall()
        self._extra = 0
        self._last = float("-inf")

    async def run_once(self) -> bool:
        """One call, if there is reason for it; and what tasks said of their progress since the last one.

        Whether there was reason. Raises DatabaseError in an outage.
        """
        held = self._shared.held
        if held.take_ambiguous():
            self._extra = _EXTRA_CALLS
        if not (len(held) or self._extra or time.monotonic() - self._last >= self._heartbeat):
            return False
        self._last = time.monotonic()
        try:
            await self._call()
        finally:
            await self._shared.progress.write(self._link, self._worker)
        self._extra = max(0, self._extra - 1)  # one that was not answered has shown nothing
        return True

    async def _call(self) -> None:
        sent = time.monotonic()
        await failpoints.reach("roll_call.sending")
        rows = await workers.roll_call(self._link, self._worker)
        await failpoints.reach("roll_call.answered")
        held = self._shared.held
        oldest_claim = held.oldest_claim()
        findings = self._roll_call.compare(rows, held.snapshot(), sent=sent, oldest_claim=oldest_claim)
        if findings.cancelled:
            self._orders.stop(findings.cancelled, Stop.CANCEL)
        if findings.lost:
            _log.warning("roll_call.lost", jobs=[str(attempt.id) for attempt in findings.lost])
            self._orders.stop(findings.lost, Stop.LOST)
        if findings.strays:
            await self._give_back(findings.strays)

    async def _give_back(self, strays: Sequence[Row]) -> None:
        _log.warning("roll_call.strays", jobs=[str(row.id) for row in strays])
        await failpoints.reach("roll_call.giving_back")
        await attempts.give_back(
            self._link,
            worker=self._worker,
            ids=[row.id for row in strays],
            attempts=[row.attempt for row in strays],
            begun=[False] * len(strays),
            delays=[0.0] * len(strays),
            reasons=["claimed, but the answer never reached its worker"] * len(strays),
        )
