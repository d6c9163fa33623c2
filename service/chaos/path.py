"""Walking one job from its submit to its row at the end, by its history: the way must be a legal one.

The history keeps what the row does not say, so a claim, a success and a plain cancel have no event: they are inferred
where the next event needs them, and only if the life cycle has such an edge. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from db.lifecycle import CLAIMABLE, FINAL, TRANSITIONS, JobStatus
from service.chaos.evidence import Event, JobRow, Violation

FREE_RESCUES: Final = 5
"""How often the death of the worker around an isolated job costs nothing."""
_FINAL_TASKS: Final = frozenset({"chaos.fail"})
"""Their failure is final at once."""
_FINAL_KINDS: Final = frozenset({"payload", "result"})
_EDGES: Final = {
    "failed": ("fail", "crash"),
    "snoozed": ("snooze",),
    "given-back": ("give_back",),
    "rescued": ("rescue",),
}
"""Event that ends an attempt → the edges it stands for."""
_TARGETS: Final = {
    name: frozenset[JobStatus]().union(*(edge.targets for edge in TRANSITIONS if edge.name in edges))
    for name, edges in _EDGES.items()
}


@dataclass(slots=True)
class _Walk:
    """Where a job stands after the events so far."""

    row: JobRow
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    replays: int = 0
    free: int = 0
    """Rescues since the last replay that cost nothing."""
    found: list[Violation] = field(default_factory=list)

    def wrong(self, rule: str, text: str) -> None:
        self.found.append(Violation(rule, text, self.row.id))

    # -- one event ---------------------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        if self.status in FINAL and event.name != "replayed":
            self.wrong("I5", f"it left {self.status} by {event.name!r} of attempt {event.attempt}, without a replay")
        match event.name:
            case "failed" | "snoozed" | "given-back" | "rescued":
                self.end_attempt(event)
            case "cancel-requested":
                self.hold(event)
            case "edited":
                self.edit(event)
            case "replayed":
                self.replay(event)
            case _:
                self.wrong("I8", f"nothing in a run makes an event {event.name!r}")

    def hold(self, event: Event) -> None:
        """It is RUNNING under the event's attempt: since before, or by a claim in between."""
        if self.status is JobStatus.RUNNING and event.attempt == self.attempt:
            return
        if event.attempt != self.attempt + 1:
            self.wrong("I3", f"{event.name!r} is about attempt {event.attempt}, after attempt {self.attempt}")
        elif self.status not in CLAIMABLE:
            self.wrong("I8", f"attempt {event.attempt} was begun out of {self.status}")
        self.status, self.attempt = JobStatus.RUNNING, event.attempt

    def end_attempt(self, event: Event) -> None:
        self.hold(event)
        status = JobStatus(event.status)
        if status not in _TARGETS[event.name]:
            self.wrong("I8", f"{event.name!r} led to {status}")
        self.charge(event, status)
        if status in CLAIMABLE and (status is JobStatus.RETRYING) != (self.failures + self.crashes > 0):
            self.wrong("I8", f"{event.name!r} led to {status} with {self.failures} failures, {self.crashes} crashes")
        if status is JobStatus.FAILED and not self.may_fail(event):
            self.wrong("I6", f"{event.name!r} of attempt {event.attempt} ended it with budgets left: {self.budgets}")
        if status in CLAIMABLE and (self.failures >= self.row.max_attempts or self.crashes >= self.row.max_crashes):
            self.wrong(
                "I6", f"{event.name!r} of attempt {event.attempt} put it back with a budget spent: {self.budgets}"
            )
        self.status = status

    def charge(self, event: Event, status: JobStatus) -> None:
        match event.name:
            case "failed" if event.detail.get("kind") == "crash":
                self.crashes += 1
            case "failed":
                self.failures += 1
            case "rescued":
                self.rescue(event)
            case "given-back" if status is JobStatus.FAILED:
                self.crashes += 1

    def rescue(self, event: Event) -> None:
        """It costs a crash, but for a job that ran isolated, whose child nobody saw die: that is free so many times."""
        isolated = self.row.max_crashes > 1 and self.crashes >= max(1, self.row.max_crashes - 1)
        free = isolated and self.free < FREE_RESCUES
        if bool(event.detail.get("charged")) == free:
            how = "cost a crash" if free is True else "cost nothing"
            self.wrong(
                "I6", f"the rescue of attempt {event.attempt} {how}, with {self.budgets}, {self.free} free ones before"
            )
        if event.detail.get("charged"):
            self.crashes += 1
        else:
            self.free += 1

    @property
    def budgets(self) -> str:
        row = self.row
        return f"{self.failures} of {row.max_attempts} failures, {self.crashes} of {row.max_crashes} crashes"

    def may_fail(self, event: Event) -> bool:
        """Whether FAILED is where this ends: a budget is spent, or the failure is final."""
        if event.name == "failed" and event.detail.get("kind") != "crash":
            final = self.row.task in _FINAL_TASKS or event.detail.get("kind") in _FINAL_KINDS
            return final or self.failures >= self.row.max_attempts
        if event.name == "given-back":
            return self.row.max_crashes == 1
        return self.crashes >= self.row.max_crashes

    def edit(self, event: Event) -> None:
        if event.attempt != self.attempt or event.status != self.status or self.status in FINAL | {JobStatus.RUNNING}:
            self.wrong("I8", f"it was edited as {event.status} in attempt {event.attempt}, being {self.at}")

    @property
    def at(self) -> str:
        return f"{self.status} in attempt {self.attempt}"

    def replay(self, event: Event) -> None:
        undone = JobStatus(event.detail.get("status", ""))
        if self.status is not undone or event.attempt != self.attempt:
            self.reach(undone, event.attempt, "it was replayed")
        self.status, self.replays = JobStatus.PENDING, self.replays + 1
        self.failures = self.crashes = self.free = 0

    # -- what has no event -------------------------------------------------------------------------------------------

    def reach(self, status: JobStatus, attempt: int, when: str) -> None:
        """It comes to be `status` without an event of its own, or the walk says why it cannot."""
        running = self.status is JobStatus.RUNNING and attempt == self.attempt
        claimed = self.status in CLAIMABLE and attempt == self.attempt + 1
        waiting = self.status in CLAIMABLE and attempt == self.attempt
        same = status is self.status and attempt == self.attempt
        match status:
            case JobStatus.SUCCESS | JobStatus.RUNNING:
                legal = running or claimed
            case JobStatus.CANCELLED:
                legal = same or running or claimed or waiting
            case _:
                legal = same
        if not legal:
            jumped = attempt not in (self.attempt, self.attempt + 1)
            self.wrong("I3" if jumped else "I8", f"{when} as {status} in attempt {attempt}, after being {self.at}")
        self.status, self.attempt = status, attempt

    def finish(self) -> None:
        """The row itself is the end of the way."""
        row = self.row
        self.reach(JobStatus(row.status), row.attempt, "it is stored")
        said = (row.failures, row.crashes, row.replays)
        counted = (self.failures, self.crashes, self.replays)
        if said != counted:
            self.wrong("I6", f"failures, crashes and replays are stored as {said}, and its history makes {counted}")
        if row.failures > row.max_attempts or row.crashes > row.max_crashes:
            self.wrong("I6", f"more than its budgets is spent: {self.budgets}")


def walk(row: JobRow, events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the way of one job: rules I3 (attempts), I5 (final), I6 (budgets) and I8 (edges)."""
    found = _Walk(row)
    for event in events:
        found.take(event)
    found.finish()
    return found.found
