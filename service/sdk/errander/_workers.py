"""`client.workers`: the live worker processes."""

from ._core import Core, segment
from ._models import Worker
from ._runner import AsyncRunner, Runner
from ._wire import Flow


class Workers:
    """The live workers, with calls that block."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(self) -> list[Worker]:
        """Every live worker process."""
        return self._runner.run(_list(self._runner.core))

    def drain(self, worker_id: str) -> None:
        """Tell one to take nothing more, to finish or give back what it runs, and to end."""
        self._runner.run(_drain(self._runner.core, worker_id))


class AsyncWorkers:
    """The live workers, with calls to await."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def list(self) -> list[Worker]:
        """Every live worker process."""
        return await self._runner.run(_list(self._runner.core))

    async def drain(self, worker_id: str) -> None:
        """Tell one to take nothing more, to finish or give back what it runs, and to end."""
        await self._runner.run(_drain(self._runner.core, worker_id))


def _list(core: Core) -> Flow[list[Worker]]:
    return core.read_list(Worker, "/v1/workers")


def _drain(core: Core, worker_id: str) -> Flow[None]:
    yield from core.call("POST", f"/v1/workers/{segment(worker_id)}/drain", body={})
