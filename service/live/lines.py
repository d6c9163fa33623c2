"""Streams as bytes: events in the words of `text/event-stream` (WHATWG HTML, 9.2), made out of an outbox."""

import re
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from db.changes import Mark
from service.http.strict_json import encode
from service.live.outbox import JobOutbox, ListOutbox
from service.live.told import Told

RETRY: Final = b"retry: 3000\n\n"
"""Milliseconds after which a client that lost its stream asks again."""
PROGRESS_SECONDS: Final = 0.25
"""Between two events that differ in progress only."""
RESET_SECONDS: Final = 5.0
"""Between two resets of one stream: whoever lists needs a moment."""

_END: Final = "end."
_MARK: Final = re.compile(r"^(\d{1,17})-(\d{1,18})$")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def event(name: str, data: str, place: str | None = None) -> bytes:
    """One event; `place` is what a client sends as `Last-Event-ID` to go on after it."""
    named = f"id: {place}\n" if place else ""
    return f"{named}event: {name}\ndata: {data}\n\n".encode()


def ping(place: str | None = None) -> bytes:
    """A comment, so that proxies see that the stream lives; with the place that the client has reached meanwhile."""
    return f": ping\nid: {place}\n\n".encode() if place else b": ping\n\n"


def mark_text(mark: Mark) -> str:
    """A mark as the id of an event."""
    return f"{(mark.at - _EPOCH) // timedelta(microseconds=1)}-{mark.history}"


def mark_of(text: str | None) -> Mark | None:
    """The mark that an event's id says; None where it says none."""
    found = _MARK.match(text or "")
    if found is None:
        return None
    try:
        return Mark(_EPOCH + timedelta(microseconds=int(found[1])), int(found[2]))
    except OverflowError:
        return None


def is_over(last_id: str | None, state: Told) -> bool:
    """Whether the client has seen the end of the job as it is now, so that there is nothing to tell."""
    return state.is_final and last_id == _END + state.digest


async def job_lines(outbox: JobOutbox, last_id: str | None, heartbeat: float) -> AsyncIterator[bytes]:
    """One job until it is final. `last_id` is the digest of the state that the client has."""
    yield RETRY
    sent_at, core, digest, status = 0.0, "", last_id, ""
    while not outbox.closed and not outbox.gone:
        state = outbox.newest
        if state is None or state.digest == digest:
            if state is not None and state.is_final:
                break
            if not await outbox.news(heartbeat):
                yield ping()
            continue
        left = sent_at + PROGRESS_SECONDS - time.monotonic()
        if state.core == core and left > 0:
            await outbox.news(left)
            continue
        yield event("job", state.body, state.digest)
        sent_at, core, digest, status = time.monotonic(), state.core, state.digest, state.status
    newest = outbox.newest
    if outbox.gone:
        yield event("end", encode({"status": None}), _END + "gone")
    elif newest is not None and newest.is_final and not outbox.closed:
        yield event("end", encode({"id": str(newest.id), "status": status or newest.status}), _END + newest.digest)


async def list_lines(
    outbox: ListOutbox, opening: Sequence[Told], begin: Mark, *, reset: bool, heartbeat: float
) -> AsyncIterator[bytes]:
    """The states that a client begins with, then every change. With `reset` the client is first told to list again."""
    yield RETRY
    if reset:
        yield _reset("what has changed since the last event is not known any more")
    for state in opening[:-1]:
        yield event("job", state.body)
    if opening:
        yield event("job", opening[-1].body, mark_text(begin))
    reset_at = float("-inf")
    while not outbox.closed:
        if outbox.lost and time.monotonic() - reset_at >= RESET_SECONDS:
            reset_at = time.monotonic()
            yield _reset("more has changed than this stream can carry", mark_text(outbox.found()))
            continue
        waiting = outbox.take()
        if waiting is not None:
            state, mark = waiting
            yield event("job", state.body, None if mark is None else mark_text(mark))
            continue
        place = None if outbox.lost else mark_text(outbox.mark)
        pause = min(heartbeat, RESET_SECONDS) if outbox.lost else heartbeat
        if not await outbox.news(pause):
            yield ping(place)


def _reset(why: str, place: str | None = None) -> bytes:
    return event("reset", encode({"reason": why}), place)
