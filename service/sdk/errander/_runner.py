"""What performs flows for a client and for everything it hands out: one transport, one core."""

from typing import TypeVar

from ._core import Core
from ._wire import AsyncTransport, Flow, Transport, adrive, drive

T = TypeVar("T")


class Runner:
    """Performs flows, blocking."""

    def __init__(self, core: Core, transport: Transport) -> None:
        self.core = core
        self.transport = transport

    def run(self, flow: Flow[T]) -> T:
        """Perform one flow."""
        return drive(flow, self.transport)


class AsyncRunner:
    """Performs flows on the running event loop."""

    def __init__(self, core: Core, transport: AsyncTransport) -> None:
        self.core = core
        self.transport = transport

    async def run(self, flow: Flow[T]) -> T:
        """Perform one flow."""
        return await adrive(flow, self.transport)
