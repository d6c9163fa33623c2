"""The processes and the stores as a whole: I11, I15, and what the consistency checks say. Pure."""

from collections.abc import Iterator
from signal import SIGTERM

from service.chaos.evidence import Evidence, JobId, Life, Violation
from service.chaos.ledger import What


def hints_are_of_jobs(evidence: Evidence) -> Iterator[Violation]:
    """I11: every hint in Redis names a job in PostgreSQL."""
    for member in sorted(evidence.hinted):
        if JobId(member) not in evidence.rows:
            yield Violation("I11", f"Redis holds {member!r}, which is no job")


def nobody_ends_unasked(evidence: Evidence) -> Iterator[Violation]:
    """I15: a process ends by a signal, a failpoint or a task that kills it; after SIGTERM with status 0 and in time."""
    killed = {one.pid for one in evidence.fired if one.action in ("kill", "exit")}
    killed |= {line.pid for line in evidence.lines if line.what is What.DIE}
    for life in evidence.lives:
        if life.overdue:
            yield Violation("I15", f"{_name(life)} had not ended long after SIGTERM\n{_words(life)}")
        elif life.ended is not None and life.pid not in killed and not _was_asked(life):
            yield Violation(
                "I15", f"{_name(life)} ended with {life.code}, told {life.told or 'nothing'}\n{_words(life)}"
            )
    for text in evidence.left:
        yield Violation("I15", f"it outlived the process that had started it: {text}")


def _was_asked(life: Life) -> bool:
    if "SIGKILL" in life.told:
        return True
    # before it takes the signal for itself, and while it starts anew in place, the signal ends it, and it holds nothing
    return "SIGTERM" in life.told and (life.code == 0 or (life.code == -SIGTERM and not life.in_service))


def nothing_contradicts(evidence: Evidence) -> Iterator[Violation]:
    """fsck: the tables agree with each other, at the end in full and under way in every snapshot that could be had."""
    for text in evidence.fsck:
        yield Violation("fsck", text)
    for text in evidence.looks:
        yield Violation("fsck", f"while faults happened: {text}")


def an_outage_is_no_fault_of_ours(evidence: Evidence) -> Iterator[Violation]:
    """api: an outage is answered with a problem document, 503 where PostgreSQL is away, and never with 500."""
    for text in evidence.records.internal:
        yield Violation("api", text)


def _name(life: Life) -> str:
    return f"{life.who}, its process {life.generation + 1} ({life.pid}),"


def _words(life: Life) -> str:
    return "\n".join(f"    {line}" for line in life.words)
