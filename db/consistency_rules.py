"""The rules that hold between what is stored, each with a code, what a breach means and what to do about it.

An *error* is something that no sequence of Errander's own statements brings about, or a promise that is not kept. A
*warning* is a state of the deployment that a person may have meant. Codes are stable: they may be added, never renamed.

Not a rule: that the jobs of an idempotency key exist. A key whose jobs were pruned counts as released (`held_keys`) and
is deleted when the pruner looks at it next, so it holds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How a finding counts."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means. `message` is about the things that were found, `action` is what to do about them."""

    code: str
    severity: Severity
    message: str
    action: str
    repairable: bool = False
    """A repair mends it."""
    passing: bool = False
    """It can be so for a moment in a healthy system, so it counts only if two looks in a row find it."""
    names_jobs: bool = True
    """Its examples are ids of jobs, which belong to tenants."""


@dataclass(frozen=True, slots=True)
class Found:
    """Some things that break one rule: how many, and which, as far as they are named."""

    code: str
    count: int
    examples: tuple[str, ...] = ()
    """Ids of jobs, where the rule says nothing else."""


_REPAIR = "`errander fsck --repair`"

_ERRORS = (
    Rule(
        "ready-missing",
        Severity.ERROR,
        "jobs wait, but are missing from the queue, so nothing starts them",
        f"{_REPAIR} puts them back into the queue",
        repairable=True,
    ),
    Rule(
        "ready-surplus",
        Severity.ERROR,
        "rows of the queue have no job that waits; no claim takes them",
        f"{_REPAIR} removes them",
        repairable=True,
    ),
    Rule(
        "ready-differs",
        Severity.ERROR,
        "rows of the queue differ from their jobs in tenant, pool, priority, task, run_at or expires_at",
        f"{_REPAIR} writes them again from their jobs",
        repairable=True,
    ),
    Rule(
        "lease-missing",
        Severity.ERROR,
        "jobs are RUNNING without a lease, so neither their worker nor the reaper looks after them",
        f"{_REPAIR} gives the leases back",
        repairable=True,
    ),
    Rule(
        "lease-surplus",
        Severity.ERROR,
        "leases have no job that is RUNNING",
        f"{_REPAIR} removes them",
        repairable=True,
    ),
    Rule(
        "lease-differs",
        Severity.ERROR,
        "leases differ from their jobs in attempt, worker, pool or priority",
        f"{_REPAIR} writes them again from their jobs",
        repairable=True,
    ),
    Rule(
        "lease-orphaned",
        Severity.ERROR,
        "jobs are RUNNING under workers that are gone or dead for longer than a rescue takes",
        "start a worker if none lives: its leader rescues them; if one lives, see its log for leader.step_failed",
        passing=True,
    ),
    Rule(
        "status-wrong",
        Severity.ERROR,
        "jobs are PENDING although they have failed or crashed, or RETRYING although they have not",
        "they run as they should, and their next change of status corrects them; find out who wrote to the tables",
    ),
    Rule(
        "budget-passed",
        Severity.ERROR,
        "jobs have used more of max_attempts or max_crashes than their status allows",
        "cancel them, and replay those that are to run: a replay begins with whole budgets",
    ),
    Rule(
        "end-wrong",
        Severity.ERROR,
        "finished_at or failed_at is set where the status says otherwise, or is missing",
        "run `errander migrate`, find out who dropped the constraints, and set the columns by hand",
    ),
    Rule(
        "attempt-wrong",
        Severity.ERROR,
        "attempt is lower than what the job's own columns say that it has started",
        "find out who wrote to the tables; cancel and replay the job if it has not ended",
    ),
    Rule(
        "history-ahead",
        Severity.ERROR,
        "the history names a later attempt than the job has",
        "the job was restored or written by hand; look at it with `errander job history`",
    ),
    Rule(
        "history-orphaned",
        Severity.ERROR,
        "the history names jobs that are gone: only the pruner deletes jobs, and it deletes their history with them",
        "find out who deleted the jobs before you delete these rows of `history` by hand: they say what was lost",
    ),
    Rule(
        "key-missing",
        Severity.ERROR,
        "jobs have not ended, but nothing holds their idempotency keys, so a repeated submit would make second jobs",
        "find out who deleted rows of `idempotency_keys`; what they held cannot be computed again",
    ),
    Rule(
        "job-stuck",
        Severity.ERROR,
        "jobs have been due for more than ten minutes and are next in their queues, but a free worker does not start them",
        "see the log of the workers that serve them; look for a transaction that has held their rows for long",
        passing=True,
    ),
    Rule(
        "leader-missing",
        Severity.ERROR,
        "workers live, but nobody has led for a whole lease: nothing is rescued, expired or pruned (examples: workers)",
        "see the logs of the workers for leader.step_failed or leader.step_broken",
        passing=True,
        names_jobs=False,
    ),
)

_WARNINGS = (
    Rule(
        "running-overdue",
        Severity.WARNING,
        "jobs have been RUNNING for ten minutes longer than their timeout",
        "they wait for a thread of their worker, or the worker cannot stop their code; raise ERRANDER_THREADS or drain it",
    ),
    Rule(
        "job-unserved",
        Severity.WARNING,
        "jobs have been due for more than ten minutes and no live worker serves them (one example a queue and task)",
        "start a worker of their pool and priority with their task, or cancel them",
    ),
    Rule(
        "pause-unknown",
        Severity.WARNING,
        "tasks are paused that nothing has ever announced (examples: tasks)",
        "correct a misspelt pause with `errander task resume NAME`; a task to come is paused from its first job",
        names_jobs=False,
    ),
    Rule(
        "schema-differs",
        Severity.WARNING,
        "constraints, indexes or triggers that this version relies on are missing or not valid (examples: their names)",
        "if no newer release has migrated this schema, restore them: `\\d` in `errander psql` shows what there is",
        names_jobs=False,
    ),
)

RULES: Mapping[str, Rule] = {rule.code: rule for rule in (*_ERRORS, *_WARNINGS)}
"""Code → rule, of everything that PostgreSQL alone can tell."""


def is_clean(found: Mapping[str, Found], rules: Mapping[str, Rule] = RULES) -> bool:
    """Whether nothing of it is an error. Pure."""
    return not any(rules[code].severity is Severity.ERROR for code in found)
