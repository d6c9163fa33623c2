"""`client.queues`: how full the queues are, and whether they are served. A queue is one priority of one pool."""

from ._core import Core, segment
from ._models import Queue
from ._runner import AsyncRunner, Runner
from ._wire import Flow


class Queues:
    """The queues, with calls that block. A queue is named `high`, `default`, `low`, or `pool:high` and so on."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(self) -> list[Queue]:
        """All queues, the empty ones too."""
        return self._runner.run(_list(self._runner.core))

    def pause(self, queue: str, reason: str | None = None) -> Queue:
        """Stop starting its jobs; what runs goes on, and jobs are still accepted."""
        return self._runner.run(_act(self._runner.core, queue, "pause", reason))

    def resume(self, queue: str) -> Queue:
        """Start its jobs again."""
        return self._runner.run(_act(self._runner.core, queue, "resume", None))


class AsyncQueues:
    """The queues, with calls to await. A queue is named `high`, `default`, `low`, or `pool:high` and so on."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def list(self) -> list[Queue]:
        """All queues, the empty ones too."""
        return await self._runner.run(_list(self._runner.core))

    async def pause(self, queue: str, reason: str | None = None) -> Queue:
        """Stop starting its jobs; what runs goes on, and jobs are still accepted."""
        return await self._runner.run(_act(self._runner.core, queue, "pause", reason))

    async def resume(self, queue: str) -> Queue:
        """Start its jobs again."""
        return await self._runner.run(_act(self._runner.core, queue, "resume", None))


def _list(core: Core) -> Flow[list[Queue]]:
    return core.read_list(Queue, "/v1/queues")


def _act(core: Core, queue: str, action: str, reason: str | None) -> Flow[Queue]:
    return core.act(Queue, f"/v1/queues/{segment(queue)}/{action}", {} if reason is None else {"reason": reason})
