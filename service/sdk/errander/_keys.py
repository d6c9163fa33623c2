"""`client.keys`: API keys of one's own tenant."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from ._core import Core, Read, segment
from ._durations import Duration, to_seconds
from ._runner import AsyncRunner, Runner
from ._task import Priority
from ._wire import Flow

_PATH = "/v1/keys"


class ApiKey(Read):
    """An API key: everything but the key itself, which is shown only when it is made (`key`)."""

    id: str
    name: str = ""
    tenant: str = "default"
    key: str | None = Field(None, repr=False)
    last_four: str = ""
    scopes: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    max_priority: str | None = None
    active: bool = True
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    retires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    replaces: str | None = None


class KeyPage(Read):
    """A page of keys."""

    items: tuple[ApiKey, ...] = ()
    next_cursor: str | None = None


class Keys:
    """API keys, with calls that block."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        tasks: Sequence[str] | None = None,
        max_priority: Priority | None = None,
        expires_in: Duration | None = None,
    ) -> ApiKey:
        """Make a key with these scopes or roles; `key` of what comes back is shown this once.

        `tasks` (names, or prefixes such as `email.*`) and `max_priority` narrow what it may submit.
        """
        flow = _create(self._runner.core, name, scopes, tasks=tasks, max_priority=max_priority, expires_in=expires_in)
        return self._runner.run(flow)

    def list(self) -> Iterator[ApiKey]:
        """All keys, newest first, revoked and expired ones too."""
        cursor: str | None = None
        while True:
            page = self._runner.run(_page(self._runner.core, cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, key_id: str) -> ApiKey:
        """What is known of a key."""
        return self._runner.run(self._runner.core.read(ApiKey, f"{_PATH}/{segment(key_id)}"))

    def revoke(self, key_id: str, reason: str | None = None) -> ApiKey:
        """End a key for good."""
        return self._runner.run(_revoke(self._runner.core, key_id, reason))

    def rotate(self, key_id: str, *, overlap: Duration | None = None) -> ApiKey:
        """Make a key's successor; both are good until `overlap` (a day) is over."""
        return self._runner.run(_rotate(self._runner.core, key_id, overlap))


class AsyncKeys:
    """API keys, with calls to await."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        tasks: Sequence[str] | None = None,
        max_priority: Priority | None = None,
        expires_in: Duration | None = None,
    ) -> ApiKey:
        """Make a key with these scopes or roles; `key` of what comes back is shown this once.

        `tasks` (names, or prefixes such as `email.*`) and `max_priority` narrow what it may submit.
        """
        flow = _create(self._runner.core, name, scopes, tasks=tasks, max_priority=max_priority, expires_in=expires_in)
        return await self._runner.run(flow)

    async def list(self) -> AsyncIterator[ApiKey]:
        """All keys, newest first, revoked and expired ones too."""
        cursor: str | None = None
        while True:
            page = await self._runner.run(_page(self._runner.core, cursor))
            for key in page.items:
                yield key
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get(self, key_id: str) -> ApiKey:
        """What is known of a key."""
        return await self._runner.run(self._runner.core.read(ApiKey, f"{_PATH}/{segment(key_id)}"))

    async def revoke(self, key_id: str, reason: str | None = None) -> ApiKey:
        """End a key for good."""
        return await self._runner.run(_revoke(self._runner.core, key_id, reason))

    async def rotate(self, key_id: str, *, overlap: Duration | None = None) -> ApiKey:
        """Make a key's successor; both are good until `overlap` (a day) is over."""
        return await self._runner.run(_rotate(self._runner.core, key_id, overlap))


def _create(
    core: Core,
    name: str,
    scopes: Sequence[str],
    *,
    tasks: Sequence[str] | None,
    max_priority: Priority | None,
    expires_in: Duration | None,
) -> Flow[ApiKey]:
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    if tasks is not None:
        body["tasks"] = list(tasks)
    if max_priority is not None:
        body["max_priority"] = max_priority
    if expires_in is not None:
        body["expires_in"] = to_seconds(expires_in, "expires_in")
    return core.act(ApiKey, _PATH, body, repeatable=False)


def _page(core: Core, cursor: str | None) -> Flow[KeyPage]:
    return core.read(KeyPage, _PATH, params=[("limit", "200"), *([("cursor", cursor)] if cursor else [])])


def _revoke(core: Core, key_id: str, reason: str | None) -> Flow[ApiKey]:
    return core.act(ApiKey, f"{_PATH}/{segment(key_id)}/revoke", {} if reason is None else {"reason": reason})


def _rotate(core: Core, key_id: str, overlap: Duration | None) -> Flow[ApiKey]:
    body = {} if overlap is None else {"overlap": to_seconds(overlap, "overlap")}
    return core.act(ApiKey, f"{_PATH}/{segment(key_id)}/rotate", body, repeatable=False)
