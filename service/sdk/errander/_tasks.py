"""`client.tasks`: the catalogue of what can be run."""

from ._core import Core, segment
from ._models import TaskInfo
from ._runner import AsyncRunner, Runner
from ._wire import Flow


class Tasks:
    """The catalogue, with calls that block."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(self) -> list[TaskInfo]:
        """Every task that anything has announced."""
        return self._runner.run(_list(self._runner.core))

    def get(self, name: str) -> TaskInfo:
        """One task. Raises `NotFound`."""
        return self._runner.run(_get(self._runner.core, name))

    def pause(self, name: str, reason: str | None = None) -> TaskInfo:
        """Stop starting its jobs; what runs goes on, and jobs are still accepted."""
        return self._runner.run(_act(self._runner.core, name, "pause", reason))

    def resume(self, name: str) -> TaskInfo:
        """Start its jobs again."""
        return self._runner.run(_act(self._runner.core, name, "resume", None))


class AsyncTasks:
    """The catalogue, with calls to await."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def list(self) -> list[TaskInfo]:
        """Every task that anything has announced."""
        return await self._runner.run(_list(self._runner.core))

    async def get(self, name: str) -> TaskInfo:
        """One task. Raises `NotFound`."""
        return await self._runner.run(_get(self._runner.core, name))

    async def pause(self, name: str, reason: str | None = None) -> TaskInfo:
        """Stop starting its jobs; what runs goes on, and jobs are still accepted."""
        return await self._runner.run(_act(self._runner.core, name, "pause", reason))

    async def resume(self, name: str) -> TaskInfo:
        """Start its jobs again."""
        return await self._runner.run(_act(self._runner.core, name, "resume", None))


def _list(core: Core) -> Flow[list[TaskInfo]]:
    return core.read_list(TaskInfo, "/v1/tasks")


def _get(core: Core, name: str) -> Flow[TaskInfo]:
    return core.read(TaskInfo, f"/v1/tasks/{segment(name)}")


def _act(core: Core, name: str, action: str, reason: str | None) -> Flow[TaskInfo]:
    return core.act(TaskInfo, f"/v1/tasks/{segment(name)}/{action}", {} if reason is None else {"reason": reason})
