"""What clients were told against what is stored: I1, I2, I5, I10, I12 and I14. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from db.lifecycle import FINAL
from service.chaos.evidence import Evidence, JobId, JobRow, Violation
from service.chaos.record import Outcome, Request, Seen


def accepted_is_kept(evidence: Evidence) -> Iterator[Violation]:
    """I1: what was accepted is exactly one row, what nobody asked for is none, a batch is all of it or nothing."""
    rows = _by_token(evidence)
    asked: set[str] = set()
    for request in evidence.records.requests:
        asked.update(request.tokens)
        yield from _kept(request, rows)
    for token, found in rows.items():
        if token not in asked:
            yield from (Violation("I1", f"nobody submitted it (token {token!r})", row.id) for row in found)


def _kept(request: Request, rows: dict[str, list[JobRow]]) -> Iterator[Violation]:
    counts = [len(rows[token]) for token in request.tokens]
    match request.outcome:
        case Outcome.ACCEPTED:
            for token, job in zip(request.tokens, request.ids, strict=True):
                if [row.id for row in rows[token]] != [job]:
                    there = ", ".join(row.id for row in rows[token]) or "nothing"
                    yield Violation("I1", f"{token} was accepted as {job}, and what is stored is {there}", JobId(job))
        case Outcome.REFUSED | Outcome.NEVER_SENT:
            if any(counts):
                yield Violation("I1", f"{request.token} was {request.outcome}, and made {sum(counts)} jobs")
        case _:
            if set(counts) not in ({0}, {1}):
                text = f"{request.token} is {request.outcome}, and its {len(counts)} jobs are stored {counts} times"
                yield Violation("I1", text)
    if request.outcome is Outcome.REFUSED:
        yield Violation("I1", f"{request.token} is a good request and was refused: {request.detail}")


def a_key_is_one_job(evidence: Evidence) -> Iterator[Violation]:
    """I2: no key of a tenant has two jobs, and whoever sent one again was told of the same job."""
    keyed = defaultdict(list)
    for row in evidence.rows.values():
        if row.key is not None:
            keyed[row.tenant, row.key].append(row)
    for (_, key), found in keyed.items():
        for row in found[1:]:
            yield Violation("I2", f"key {key} made {found[0].id} and {row.id}", row.id)
    for request in evidence.records.requests:
        for ids in request.others:
            text = f"{request.token} was answered with {list(request.ids)} and with {list(ids)}"
            yield Violation("I2", text, JobId(ids[0]))


def everybody_was_answered(evidence: Evidence) -> Iterator[Violation]:
    """I10: when all faults were healed every job ended, and every request with a key was answered, in the given time."""
    for row in evidence.rows.values():
        if row.status not in FINAL:
            text = f"it is {row.status} in attempt {row.attempt} although every fault was healed"
            yield Violation("I10", text, row.id)
    if evidence.unfinished and all(row.status in FINAL for row in evidence.rows.values()):
        # they ended while everybody was told to leave, and so later than promised
        yield Violation(
            "I10", f"{evidence.unfinished} jobs had not ended {evidence.settled:.0f} s after the last fault"
        )
    for request in evidence.records.requests:
        if request.outcome is Outcome.UNANSWERED:
            text = f"{request.token} was sent {request.tries} times and never answered: {request.detail}"
            yield Violation("I10", text)


def what_was_seen_stays(evidence: Evidence) -> Iterator[Violation]:
    """I5: a job that was seen in a final status is seen and stored in it from then on, until a replay."""
    for job, each in _seen_by_job(evidence).items():
        ended: Seen | None = None
        for seen in sorted(each, key=lambda one: one.answered):
            if ended is not None and seen.sent > ended.answered:
                yield from _contradiction(ended, (seen.status, seen.attempt, seen.replays), f"seen by {seen.by}")
            if seen.status in FINAL:
                ended = seen
        row = evidence.rows.get(job)
        if ended is not None and row is not None:
            yield from _contradiction(ended, (row.status, row.attempt, row.replays), "stored")


def _contradiction(ended: Seen, after: tuple[str, int, int], how: str) -> Iterator[Violation]:
    status, attempt, replays = after
    same = (status, attempt) == (ended.status, ended.attempt)
    if replays < ended.replays or attempt < ended.attempt or (replays == ended.replays and not same):
        before = f"{ended.status} in attempt {ended.attempt}, {ended.replays} replays"
        text = f"after {ended.by} had shown it as {before} it was {how} as {status} in attempt {attempt}, {replays} replays"
        yield Violation("I5", text, JobId(ended.job))


def cancelled_is_over(evidence: Evidence) -> Iterator[Violation]:
    """I12: a job whose cancel was answered with CANCELLED has no code that starts after that, unless it was replayed."""
    runs = evidence.runs()
    for seen in evidence.records.seen:
        row = evidence.rows.get(JobId(seen.job))
        if seen.by != "cancel" or seen.status != "CANCELLED" or row is None or row.replays != seen.replays:
            continue
        if row.status != "CANCELLED":
            yield Violation("I12", f"its cancel was answered with CANCELLED, and it is {row.status}", row.id)
        for run in runs.get(row.id, ()):
            if run.attempt > seen.attempt:
                text = f"attempt {run.attempt} started after its cancel was answered with CANCELLED"
                yield Violation("I12", text, row.id)


def tenants_are_apart(evidence: Evidence) -> Iterator[Violation]:
    """I14: a job is its submitter's, and no answer told of another tenant's job or changed one."""
    rows = _by_token(evidence)
    for request in evidence.records.requests:
        for row in (row for token in request.tokens for row in rows[token] if row.tenant != request.tenant):
            yield Violation("I14", f"{request.tenant!r} submitted it, and it is stored as of {row.tenant!r}", row.id)
    for text in evidence.records.foreign:
        yield Violation("I14", text)


def _by_token(evidence: Evidence) -> dict[str, list[JobRow]]:
    found: dict[str, list[JobRow]] = defaultdict(list)
    for row in evidence.rows.values():
        found[row.token].append(row)
    return found


def _seen_by_job(evidence: Evidence) -> dict[JobId, list[Seen]]:
    found: dict[JobId, list[Seen]] = defaultdict(list)
    for seen in evidence.records.seen:
        found[JobId(seen.job)].append(seen)
    return found
