"""`client.dead_letter`: the jobs that are FAILED, newest failure first, and the way back for them."""

from collections.abc import AsyncIterator, Iterator
from typing import Unpack

from . import _job_flows as flows
from ._filters import JobFilter
from ._handles import AsyncJobHandle, JobHandle
from ._jobs import aiterate, iterate
from ._models import Changed
from ._runner import AsyncRunner, Runner

_PATH = "/v1/dead-letter"


class DeadLetter:
    """The dead letters, with calls that block."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        include: str = "",
        **filters: Unpack[JobFilter],
    ) -> Iterator[JobHandle]:
        """FAILED jobs that fit `filters`, at most `limit`; pages are read as the iteration goes on."""
        reader = flows.pages(self._runner.core, _PATH, filters, include, page_size)
        return iterate(self._runner, reader, limit)

    def replay(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Put FAILED jobs that fit `filters` back, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return self._runner.run(
            flows.bulk(core, f"{_PATH}/replay", filters, dry_run=dry_run, limit=limit, reason=reason)
        )


class AsyncDeadLetter:
    """The dead letters, with calls to await."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        include: str = "",
        **filters: Unpack[JobFilter],
    ) -> AsyncIterator[AsyncJobHandle]:
        """FAILED jobs that fit `filters`, at most `limit`; pages are read as the iteration goes on."""
        reader = flows.pages(self._runner.core, _PATH, filters, include, page_size)
        return aiterate(self._runner, reader, limit)

    async def replay(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Put FAILED jobs that fit `filters` back, at most `limit` (10,000); `dry_run` only counts."""
        core = self._runner.core
        return await self._runner.run(
            flows.bulk(core, f"{_PATH}/replay", filters, dry_run=dry_run, limit=limit, reason=reason)
        )
