"""`client.audit`: who did what, newest first."""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

from ._core import Core, Params, Read
from ._durations import to_rfc3339
from ._runner import AsyncRunner, Runner
from ._wire import Flow

_PATH: Final = "/v1/audit"
_PAGE: Final = 200


class AuditObject(Read):
    """What something was done to: one thing by its `id`, or the jobs of a bulk change, whose `ids` are there on request."""

    kind: str = ""
    id: str | None = None
    ids: tuple[str, ...] | None = None


class AuditEntry(Read):
    """One thing that somebody did. `before` and `after` hold what it changed; a payload is a digest."""

    id: int
    at: datetime | None = None
    actor: str = ""
    action: str = ""
    object: AuditObject = AuditObject()
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None


class AuditFilter(TypedDict, total=False):
    """Filters, ANDed. `action` is a name, or a prefix such as `job.*`. Times are aware: from `after` on, before `before`."""

    actor: str
    action: str
    object_kind: str
    object_id: str
    after: datetime
    before: datetime


class AuditPage(Read):
    """A page of the log."""

    items: tuple[AuditEntry, ...] = ()
    next_cursor: str | None = None


class Audit:
    """The audit log, with calls that block."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(
        self, *, limit: int | None = None, ids: bool = False, **filters: Unpack[AuditFilter]
    ) -> Iterator[AuditEntry]:
        """Entries that fit `filters`, newest first, at most `limit`; pages are read as the iteration goes on.

        With `ids` the entry of a bulk change names every job that it changed.
        """
        reader = _Reader(self._runner.core, filters, limit=limit, ids=ids)
        while not reader.done:
            yield from self._runner.run(reader.next_page())


class AsyncAudit:
    """The audit log, with calls to await."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def list(
        self, *, limit: int | None = None, ids: bool = False, **filters: Unpack[AuditFilter]
    ) -> AsyncIterator[AuditEntry]:
        """Entries that fit `filters`, newest first, at most `limit`; pages are read as the iteration goes on.

        With `ids` the entry of a bulk change names every job that it changed.
        """
        reader = _Reader(self._runner.core, filters, limit=limit, ids=ids)
        while not reader.done:
            for entry in await self._runner.run(reader.next_page()):
                yield entry


class _Reader:
    """Reads the log page by page, and no more of it than `limit` entries; `done` once the last was read."""

    def __init__(self, core: Core, filters: Mapping[str, Any], *, limit: int | None, ids: bool) -> None:
        self._core = core
        self._params: Params = [
            (name, to_rfc3339(value, name) if isinstance(value, datetime) else str(value))
            for name, value in filters.items()
            if value is not None
        ]
        if ids:
            self._params.append(("include", "ids"))
        self._left = limit
        self._cursor: str | None = None
        self.done = limit == 0

    def next_page(self) -> Flow[tuple[AuditEntry, ...]]:
        """The entries of the next page."""
        size = _PAGE if self._left is None else min(_PAGE, self._left)
        params = [*self._params, ("limit", str(size))]
        if self._cursor is not None:
            params.append(("cursor", self._cursor))
        page: AuditPage = yield from self._core.read(AuditPage, _PATH, params=params)
        self._cursor = page.next_cursor
        if self._left is not None:
            self._left -= len(page.items)
        self.done = self._cursor is None or self._left == 0
        return page.items
