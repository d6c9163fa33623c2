"""What a run has to say: figures, what really happened, and each violation with its job's whole history. Pure."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from service.chaos.checks import RULES
from service.chaos.evidence import Evidence, JobId, Violation
from service.chaos.options import Options
from service.chaos.plan import FAILPOINTS, FAULTS
from service.chaos.record import Outcome
from service.chaos.workload import MARK

_MOST_TOLD: Final = 20
"""Violations with their whole history; of further ones only the text."""


@dataclass(frozen=True, slots=True)
class Report:
    """Of one run."""

    options: Options
    evidence: Evidence
    violations: Sequence[Violation]

    @property
    def clean(self) -> bool:
        """No promise was broken."""
        return not self.violations

    def document(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "seed": self.options.seed,
            "minutes": self.options.minutes,
            "workers": self.options.workers,
            "rate": self.options.rate,
            "clean": self.clean,
            "faults": faults(self.evidence, self.options.faults),
            "failpoints": failpoints(self.evidence),
            "figures": figures(self.evidence),
            "happened": [
                {
                    "at": one.fault.at,
                    "name": one.fault.name,
                    "seconds": round(one.ended - one.began, 3),
                    "really": one.really,
                    "what": one.what,
                }
                for one in self.evidence.happened
            ],
            "violations": [
                {"rule": one.rule, "promise": RULES[one.rule], "job": one.job, "text": one.text}
                | ({"history": history(self.evidence, one.job)} if one.job and number < _MOST_TOLD else {})
                for number, one in enumerate(self.violations)
            ],
        }

    def lines(self) -> Iterator[str]:
        """The same for a person."""
        yield f"seed {self.options.seed}, {self.options.minutes:g} minutes, {self.options.workers} workers"
        for name, (planned, really) in faults(self.evidence, self.options.faults).items():
            yield f"  {really:3} of {planned:3}  {name:22} {FAULTS[name].text}"
        fired = failpoints(self.evidence)
        yield f"  {sum(fired.values()):3}         {FAILPOINTS:22} {', '.join(f'{n} {name}' for name, n in fired.items())}"
        for name, value in figures(self.evidence).items():
            yield f"{name.replace('_', ' ')}: {_shown(value)}"
        for number, one in enumerate(self.violations):
            yield f"VIOLATION {one.rule} ({RULES[one.rule]}){f': job {one.job}' if one.job else ''}: {one.text}"
            if one.job and number < _MOST_TOLD:
                for line in history(self.evidence, one.job):
                    yield f"    {line}"
        told = f"{len(self.violations)} violations" if self.violations else "no violations"
        yield f"{told}; repeat the schedule with --seed {self.options.seed}"


def faults(evidence: Evidence, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Fault → how often it was due, and how often it really happened."""
    due = Counter(one.fault.name for one in evidence.happened)
    really = Counter(one.fault.name for one in evidence.happened if one.really)
    return {name: (due[name], really[name]) for name in names if name != FAILPOINTS}


def failpoints(evidence: Evidence) -> dict[str, int]:
    """`name:action` → how often it fired."""
    return dict(sorted(Counter(f"{one.name}:{one.action}" for one in evidence.fired).items()))


def figures(evidence: Evidence) -> dict[str, Any]:
    """What went on, in numbers."""
    records, rows = evidence.records, evidence.rows.values()
    outcomes: Counter[str] = Counter()
    for request in records.requests:
        outcomes[request.outcome] += len(request.tokens)
    events = Counter(event.name for each in evidence.events.values() for event in each)
    runs = evidence.runs().values()
    return {
        "submitted": sum(outcomes.values()),
        **{name.value.replace(" ", "_"): outcomes[name] for name in Outcome},
        "unknown_and_kept": _unknown_and_kept(evidence),
        "stored": len(evidence.rows),
        "final": dict(sorted(Counter(row.status for row in rows).items())),
        "starts": sum(len(each) for each in runs),
        "starts_beyond_the_first": sum(len(each) - 1 for each in runs),
        "rescued": events["rescued"],
        "given_back": events["given-back"],
        "failed_attempts": events["failed"],
        "snoozed": events["snoozed"],
        "replays": events["replayed"],
        "acts": dict(sorted(records.acts.items())),
        "http_statuses": dict(sorted(records.statuses.items())),
        "slowest_answer_seconds": round(records.slowest, 2),
        "processes": len(evidence.lives),
        "longest_wait_after_a_flush_seconds": _longest_wait(evidence),
        "everything_ended_after_seconds": round(evidence.settled, 1),
    }


def _unknown_and_kept(evidence: Evidence) -> int:
    tokens = {row.token for row in evidence.rows.values()}
    unknown = (request for request in evidence.records.requests if request.outcome is Outcome.UNKNOWN)
    return sum(token in tokens for request in unknown for token in request.tokens)


def _longest_wait(evidence: Evidence) -> float | None:
    """How long after a FLUSHALL a job that was due by then waited for its start, at most; None without any."""
    waits = [0.0] if any(one.fault.name == "flush" and one.really for one in evidence.happened) else []
    starts = [run.start for each in evidence.runs().values() for run in each if run.start.note]
    for one in evidence.happened:
        if one.fault.name == "flush" and one.really:
            waits += [start.wall - one.ended for start in starts if float(start.note) <= one.ended < start.wall]
    return round(max(waits), 2) if waits else None


def history(evidence: Evidence, job: JobId) -> list[str]:
    """Everything that is known about one job: its row, its history, its request, its ledger, what clients saw."""
    found = []
    row = evidence.rows.get(job)
    if row is not None:
        found.append(f"row      {json.dumps(asdict(row), default=str)}")
        mine = [request for request in evidence.records.requests if row.token in request.tokens]
        found += [f"request  {MARK} {row.token}: {json.dumps(asdict(request), default=str)}"[:2000] for request in mine]
    timed = [(event.at, f"history  {json.dumps(asdict(event), default=str)}") for event in evidence.events.get(job, ())]
    timed += [(line.wall, f"ledger   {json.dumps(asdict(line))}") for line in evidence.lines if line.job == job]
    found += [text for _, text in sorted(timed)]
    found += [f"seen     {json.dumps(asdict(seen))}" for seen in evidence.records.seen if seen.job == job]
    workers = {event.worker for event in evidence.events.get(job, ()) if event.worker in evidence.dead_at}
    found += [
        f"lease    of {worker} was over at {evidence.dead_at[worker]}" for worker in sorted(filter(None, workers))
    ]
    return found


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    return "none" if value is None else str(value)
