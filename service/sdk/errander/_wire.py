"""The seam between what the client wants and how it is carried: steps, answers, and who performs them.

Everything the client does is written once, as a generator (a *flow*) that yields steps and is sent their outcomes:

    answer = yield Call("GET", "/v1/version")     an HTTP exchange; ConnectionFailed is thrown in if none came back
    yield Pause(0.5)                              time passes

`drive` performs a flow with blocking calls and `adrive` with awaits, so both clients are the same code.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from ._api_errors import ConnectionFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `path` begins with `/` and is below the base URL; `timeout` is seconds for the whole of it."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Let `seconds` pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class StreamHead(NamedTuple):
    """The beginning of an HTTP response whose content goes on. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]


Flow = Generator[Call | Pause, Any, T]
"""Steps on the way to a `T`."""


class Transport(Protocol):
    """Carries calls for `Client`. Raises `ConnectionFailed` when no answer came, and nothing else of its own."""

    def send(self, call: Call) -> Answer:
        """Perform one exchange."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class AsyncTransport(Protocol):
    """Carries calls for `AsyncClient`, as `Transport` does for `Client`."""

    async def asend(self, call: Call) -> Answer:
        """Perform one exchange."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Streams(Protocol):
    """What a `Transport` also has if it carries streams."""

    def stream(self, call: Call) -> AbstractContextManager[tuple[StreamHead, Iterator[bytes]]]:
        """Begin an exchange; its content comes part by part. Both raise `ConnectionFailed`."""
        ...


@runtime_checkable
class AsyncStreams(Protocol):
    """What an `AsyncTransport` also has if it carries streams."""

    def astream(self, call: Call) -> AbstractAsyncContextManager[tuple[StreamHead, AsyncIterator[bytes]]]:
        """Begin an exchange; its content comes part by part. Both raise `ConnectionFailed`."""
        ...


def drive(flow: Flow[T], transport: Transport, sleep: Callable[[float], None] = time.sleep) -> T:
    """Perform a flow, blocking."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = None
                if isinstance(step, Call):
                    outcome = transport.send(step)
                else:
                    sleep(step.seconds)
            except ConnectionFailed as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def adrive(flow: Flow[T], transport: AsyncTransport) -> T:
    """Perform a flow on the running event loop."""
    try:
        step = next(flow)
        while True:
            try:
                outcome = None
                if isinstance(step, Call):
                    outcome = await transport.asend(step)
                else:
                    await asyncio.sleep(step.seconds)
            except ConnectionFailed as error:
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()
