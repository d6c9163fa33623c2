"""Following jobs: events of a stream as jobs, over connections that break.

A stream is read until its `end`. Where it breaks off it is asked for again, with the id of the last event, so that nothing
is told twice and nothing is missed; where something had to be left out, the server says so, and `EventsLost` is raised.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ._api_errors import ApiError, BadAnswer, ConnectionFailed, QuotaExceeded, RequestTimeout, Unavailable
from ._core import LONGEST_PAUSE_SECONDS, PAUSES, Params, error_from, parse, segment
from ._errors import EventsLost
from ._filters import JobFilter, filter_params
from ._models import Job
from ._runner import AsyncRunner, Runner
from ._wire import Answer, AsyncStreams, Call, StreamHead, Streams

SILENCE_SECONDS: Final = 45.0
"""A stream that says nothing for so long is dead: three heartbeats."""
RETRY_SECONDS: Final = 3.0
"""Pause before a stream is asked for again, unless it says otherwise itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, its data still JSON."""

    name: str
    data: str


class Parser:
    """Bytes of `text/event-stream` as events (WHATWG HTML, 9.2); `last_id` and `retry` are what they say on the way."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry = RETRY_SECONDS
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self._id: str | None = None

    def restart(self) -> None:
        """Begins with a new connection: what was cut off is not an event."""
        self._rest, self._name, self._data, self._id = b"", "", [], self.last_id

    def feed(self, content: bytes) -> Iterator[Event]:
        """The events that `content` completes."""
        # Only line feeds end lines here: JSON may hold other characters that text is split at.
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode(errors="replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = min(int(value) / 1000, LONGEST_PAUSE_SECONDS)
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, "\n".join(data)) if data else None


class Follower:
    """One stream over all its connections. Both clients share it; they only read bytes and let time pass."""

    def __init__(self, path: str, params: Params, retries: int) -> None:
        self._path = path
        self._params = tuple(params)
        self._retries = retries
        self._parser = Parser()
        self._failures = 0
        self._opened = False

    def call(self) -> Call:
        """The request for the stream, or for what is left of it."""
        self._parser.restart()
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._parser.last_id:
            headers["Last-Event-ID"] = self._parser.last_id
        return Call("GET", self._path, self._params, headers=headers, timeout=SILENCE_SECONDS)

    def begins(self, head: StreamHead) -> bool:
        """Whether there is something to read; not where the end was read before. Raises `BadAnswer`."""
        if head.status == 204:
            return False
        if not head.headers.get("content-type", "").startswith("text/event-stream"):
            raise BadAnswer("the answer is no stream of events; is this the address of an Errander API?")
        self._opened, self._failures = True, 0
        return True

    def read(self, content: bytes) -> Iterator[Job | None]:
        """The jobs that `content` completes, and None for the end. Raises `EventsLost`."""
        for event in self._parser.feed(content):
            match event.name:
                case "job":
                    yield parse(Job, _decoded(event))
                case "reset":
                    reason = _decoded(event).get("reason")
                    raise EventsLost(str(reason or "some events are not known any more"))
                case "end":
                    yield None

    def pause(self, error: ApiError | None) -> float:
        """Seconds before the next connection. Raises `error` where that would not help."""
        if error is None:
            return self._parser.retry
        if not isinstance(error, ConnectionFailed | Unavailable | QuotaExceeded | RequestTimeout):
            raise error
        self._failures += 1
        asked = error.retry_after or 0.0
        if asked > LONGEST_PAUSE_SECONDS or (not self._opened and self._failures > self._retries):
            raise error
        return max(asked, PAUSES.delay(self._failures, random.random))


def watch_job(runner: Runner, job_id: str) -> Iterator[Job]:
    """The states of one job until it is final."""
    return _follow(runner, Follower(f"/v1/jobs/{segment(job_id)}/events", [], runner.core.retries))


def awatch_job(runner: AsyncRunner, job_id: str) -> AsyncIterator[Job]:
    """The states of one job until it is final."""
    return _afollow(runner, Follower(f"/v1/jobs/{segment(job_id)}/events", [], runner.core.retries))


def watch_jobs(runner: Runner, filters: JobFilter) -> Iterator[Job]:
    """The jobs that fit, as they change."""
    return _follow(runner, Follower("/v1/events", filter_params(filters), runner.core.retries))


def awatch_jobs(runner: AsyncRunner, filters: JobFilter) -> AsyncIterator[Job]:
    """The jobs that fit, as they change."""
    return _afollow(runner, Follower("/v1/events", filter_params(filters), runner.core.retries))


def _follow(runner: Runner, follower: Follower) -> Iterator[Job]:
    transport = runner.transport
    if not isinstance(transport, Streams):
        raise TypeError(f"{transport!r} carries no streams")
    while True:
        trouble: ApiError | None = None
        try:
            with transport.stream(follower.call()) as (head, parts):
                if head.status >= 300:
                    raise error_from(Answer(head.status, head.headers, b"".join(parts)))
                if not follower.begins(head):
                    return
                for part in parts:
                    for job in follower.read(part):
                        if job is None:
                            return
                        yield job
        except ApiError as error:
            trouble = error
        time.sleep(follower.pause(trouble))


async def _afollow(runner: AsyncRunner, follower: Follower) -> AsyncIterator[Job]:
    transport = runner.transport
    if not isinstance(transport, AsyncStreams):
        raise TypeError(f"{transport!r} carries no streams")
    while True:
        trouble: ApiError | None = None
        try:
            async with transport.astream(follower.call()) as (head, parts):
                if head.status >= 300:
                    content = b"".join([part async for part in parts])
                    raise error_from(Answer(head.status, head.headers, content))
                if not follower.begins(head):
                    return
                async for part in parts:
                    for job in follower.read(part):
                        if job is None:
                            return
                        yield job
        except ApiError as error:
            trouble = error
        await asyncio.sleep(follower.pause(trouble))


def _decoded(event: Event) -> dict[str, Any]:
    try:
        found = json.loads(event.data)
    except ValueError as error:
        raise BadAnswer(f"the data of an event {event.name!r} is not JSON") from error
    if not isinstance(found, dict):
        raise BadAnswer(f"the data of an event {event.name!r} is no object")
    return found
