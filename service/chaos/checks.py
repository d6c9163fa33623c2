"""All checkers of a run, and what each rule promises. Pure: evidence in, violations out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from service.chaos import checks_clients, checks_fleet, checks_runs, path
from service.chaos.evidence import Evidence, Violation

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "I1": "accepted means kept: exactly one row for each job that was accepted, none for what nobody asked for",
        "I2": "one job a key, and the same one for whoever asks again",
        "I3": "attempts grow by one, and each starts at most once",
        "I4": "nothing is written about an attempt once a later one has been granted",
        "I5": "final is final, but for a replay",
        "I6": "budgets are counted exactly and never passed",
        "I7": "no two attempts of a job run at once, unless the lease of the earlier one's worker was over",
        "I8": "every step is an edge of the life cycle",
        "I9": "never early",
        "I10": "once all faults are healed, everything ends and everybody is answered",
        "I11": "Redis knows no job that PostgreSQL does not",
        "I12": "what was answered with CANCELLED does not run",
        "I14": "a tenant sees and changes its own jobs only",
        "I15": "a process ends only when it is told to, or by a fault of the run",
        "fsck": "jobs, queue, leases, history and keys agree with each other, at every moment",
        "api": "an outage is a 503, not a 500",
    }
)
"""Rule → what it says."""


def _paths_are_legal(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        yield from path.walk(row, evidence.events.get(row.id, ()))


CHECKERS: Final[tuple[Callable[[Evidence], Iterable[Violation]], ...]] = (
    checks_clients.accepted_is_kept,
    checks_clients.a_key_is_one_job,
    checks_clients.everybody_was_answered,
    checks_clients.what_was_seen_stays,
    checks_clients.cancelled_is_over,
    checks_clients.tenants_are_apart,
    checks_runs.an_attempt_starts_once,
    checks_runs.nothing_late_is_written,
    checks_runs.at_most_once,
    checks_runs.nothing_overlaps,
    checks_runs.nothing_is_early,
    _paths_are_legal,
    checks_fleet.hints_are_of_jobs,
    checks_fleet.nobody_ends_unasked,
    checks_fleet.nothing_contradicts,
    checks_fleet.an_outage_is_no_fault_of_ours,
)
"""Every checker."""


def judge(evidence: Evidence) -> list[Violation]:
    """Every violation, in the order of the rules."""
    order = list(RULES)
    found = [violation for checker in CHECKERS for violation in checker(evidence)]
    return sorted(found, key=lambda one: (order.index(one.rule), one.job or ""))
