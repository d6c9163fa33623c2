"""API keys as they are kept: everything but the keys themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from db.engine import Link


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One API key. `active`: not revoked, expired or retired, by the database's clock. It retires for its successor."""

    id: str
    tenant: str
    name: str
    digest: bytes
    last_four: str
    scopes: tuple[str, ...]
    tasks: tuple[str, ...] | None
    max_priority: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    retires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None
    active: bool

    @property
    def ends_at(self) -> datetime | None:
        """When it expires or gives way to its successor, whichever is first; None: not by itself."""
        return min((end for end in (self.expires_at, self.retires_at) if end is not None), default=None)

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row of `parts/key_columns.sql`."""
        values = dict(row.items())
        tasks = values["tasks"]
        return cls(**values | {"scopes": tuple(values["scopes"]), "tasks": None if tasks is None else tuple(tasks)})


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to be kept. It ends at `expires_at`, or after `expires_in` seconds, or not by itself."""

    id: str
    tenant: str
    name: str
    digest: bytes
    last_four: str
    scopes: Sequence[str]
    created_by: str
    tasks: Sequence[str] | None = None
    max_priority: str | None = None
    expires_at: datetime | None = None
    expires_in: float | None = None
    replaces: str | None = None


async def create(link: Link, key: NewKey) -> KeyRecord:
    """Keeps a new key."""
    row = await link.row(
        "key_create",
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        digest=key.digest,
        last_four=key.last_four,
        scopes=list(key.scopes),
        tasks=None if key.tasks is None else list(key.tasks),
        max_priority=key.max_priority,
        created_by=key.created_by,
        expires_at=key.expires_at,
        expires_in=key.expires_in,
        replaces=key.replaces,
    )
    return KeyRecord.of(row)


async def find(link: Link, key_id: str) -> KeyRecord | None:
    """The key of this id, whoever it belongs to."""
    row = await link.row("key_find", id=key_id)
    return None if row is None else KeyRecord.of(row)


async def lock(link: Link, tenant: str, key_id: str) -> KeyRecord | None:
    """A tenant's key, which nobody else changes before this transaction ends."""
    row = await link.row("key_lock", tenant=tenant, id=key_id)
    return None if row is None else KeyRecord.of(row)


async def newest(link: Link, tenant: str, *, after: tuple[datetime, str] | None, n: int) -> list[KeyRecord]:
    """A tenant's keys, newest first; `after` is when the last of the page before was made, and its id."""
    before, after_id = after or (None, None)
    rows = await link.fetch("key_list", tenant=tenant, before=before, after_id=after_id, n=n)
    return [KeyRecord.of(row) for row in rows]


async def revoke(link: Link, tenant: str, key_id: str) -> KeyRecord | None:
    """Ends a tenant's key for good; None where there is none."""
    row = await link.row("key_revoke", tenant=tenant, id=key_id)
    return None if row is None else KeyRecord.of(row)


async def partner(link: Link, key: KeyRecord) -> KeyRecord | None:
    """The key of the same rotation that is good beside `key`: its successor, or the one that it replaces; None: there is none.

    Nobody makes one meanwhile if this transaction holds `key`, and `key` is active.
    """
    row = await link.row("key_partner", tenant=key.tenant, id=key.id, replaces=key.replaces)
    return None if row is None else KeyRecord.of(row)


async def retire(link: Link, tenant: str, key_id: str, *, seconds: float) -> KeyRecord | None:
    """Lets a tenant's key give way to its successor in `seconds`, unless it does so before; None where there is none."""
    row = await link.row("key_retire", tenant=tenant, id=key_id, seconds=seconds)
    return None if row is None else KeyRecord.of(row)


async def note_used(link: Link, key_ids: Sequence[str]) -> None:
    """Notes that keys were used, each at most once a minute."""
    await link.fetch("keys_used", keys=list(key_ids))


async def exists(link: Link) -> bool:
    """Whether there is a key that can be used."""
    row = await link.row("key_exists")
    return row is not None and bool(row["found"])
