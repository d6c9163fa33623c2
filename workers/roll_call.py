"""The roll call: what PostgreSQL says this worker runs, against what it holds.

Three findings. *Stray*: a row that this process does not hold, because the answer of a claim was lost; it is given back
once two calls in a row have shown it, it was held at neither nor now, and every claim begun before the first call was
sent has ended. *Lost*: an attempt held since before the call was sent, still held, and not in the answer: somebody
rescued it; its code is stopped and its outcome dropped. *Cancelled*: somebody asked for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from db.workers import Held as Row
from workers.attempt import Attempt
from workers.held import Entry


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
