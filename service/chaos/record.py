"""What clients know at the end: what they asked for, what they were answered, and what they saw. Plain values."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a client knows about a request to submit."""

    ACCEPTED = "accepted"
    """It was answered with 202."""
    UNKNOWN = "unknown"
    """It went out, and no answer came that says what became of it. Only without a key: with one it is sent again."""
    NEVER_SENT = "never sent"
    """It cannot have reached an API."""
    REFUSED = "refused"
    """It was answered with a status that says that nothing was done and that trying again cannot help."""
    UNANSWERED = "unanswered"
    """It has a key, and was sent again and again without ever being answered."""


@dataclass(slots=True)
class Request:
    """One request to submit. `tokens` name its jobs; `delays` are what each was to wait before it starts, in seconds."""

    token: str
    tokens: tuple[str, ...]
    tenant: str = ""
    """Whose it is."""
    delays: tuple[float, ...] = ()
    key: str | None = None
    keys: tuple[str | None, ...] = ()
    """Of the items of a batch."""
    outcome: Outcome = Outcome.NEVER_SENT
    ids: tuple[str, ...] = ()
    """The jobs of its first 202, in the order of `tokens`."""
    others: list[tuple[str, ...]] = field(default_factory=list)
    """What further 202s to the same request named, where it was something else."""
    answers: int = 0
    """202s."""
    tries: int = 0
    """How often it was sent."""
    detail: str = ""

    def accepted(self, ids: tuple[str, ...]) -> None:
        """Takes a 202 in."""
        self.answers += 1
        if self.outcome is not Outcome.ACCEPTED:
            self.outcome, self.ids = Outcome.ACCEPTED, ids
        elif ids != self.ids:
            self.others.append(ids)


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as an answer showed it, between sending the request and having the answer, by CLOCK_MONOTONIC."""

    job: str
    status: str
    attempt: int
    replays: int
    sent: float
    answered: float
    by: str
    """What was asked: `get`, or the act whose answer it is."""


@dataclass(slots=True)
class Records:
    """Everything that the clients of a run know."""

    requests: list[Request] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    acts: dict[str, int] = field(default_factory=dict)
    """Act → how often it was answered with success."""
    statuses: dict[int, int] = field(default_factory=dict)
    """HTTP status → answers; 0 for no answer at all."""
    internal: list[str] = field(default_factory=list)
    """Answers that no outage excuses: 500, or no problem document."""
    foreign: list[str] = field(default_factory=list)
    """What a tenant was shown of another's jobs, or let do to one."""
    slowest: float = 0.0
    """Seconds until the slowest answer of any kind."""
