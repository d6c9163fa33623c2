"""Making API keys: over the API, and by `errander key create --local`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from db import keys as kept_keys
from db.engine import Link
from db.keys import KeyRecord, NewKey
from service.auth import keys
from service.auth.scopes import expanded
from service.representation import moment_text

TASKS_FORM: Final = re.compile(r"^[A-Za-z0-9_.-]{1,200}(\.\*)?\Z")
"""A task, or a prefix of tasks such as `email.*`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A key to be made. It ends at `expires_at`, or after `expires_in` seconds, or not by itself."""

    tenant: str
    name: str
    scopes: Sequence[str]
    by: str
    """Who makes it."""
    tasks: Sequence[str] | None = None
    max_priority: str | None = None
    expires_at: datetime | None = None
    expires_in: float | None = None
    replaces: str | None = None


async def issue(link: Link, pepper: bytes, wish: Wish) -> tuple[KeyRecord, str]:
    """Makes a key and keeps its hash: what is kept, and the key, which nobody can read again.

    Raises ValueError for what is no scope, and DatabaseError.
    """
    key = keys.make()
    record = await kept_keys.create(
        link,
        NewKey(
            id=key.id,
            tenant=wish.tenant,
            name=wish.name,
            digest=keys.digest(key, pepper),
            last_four=key.last_four,
            scopes=sorted(expanded(wish.scopes)),
            created_by=wish.by,
            tasks=None if wish.tasks is None else sorted(wish.tasks),
            max_priority=wish.max_priority,
            expires_at=wish.expires_at,
            expires_in=wish.expires_in,
            replaces=wish.replaces,
        ),
    )
    return record, key.text


def granted(record: KeyRecord) -> dict[str, Any]:
    """What a new key may do, as the audit log keeps it."""
    document = key_document(record)
    return {name: document[name] for name in ("name", "scopes", "tasks", "max_priority", "expires_at", "replaces")}


def key_document(record: KeyRecord) -> dict[str, Any]:
    """A key as clients see it: everything but the key."""
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "last_four": record.last_four,
        "scopes": list(record.scopes),
        "tasks": None if record.tasks is None else list(record.tasks),
        "max_priority": record.max_priority,
        "active": record.active,
        "created_at": moment_text(record.created_at),
        "created_by": record.created_by,
        "expires_at": moment_text(record.expires_at),
        "retires_at": moment_text(record.retires_at),
        "revoked_at": moment_text(record.revoked_at),
        "last_used_at": moment_text(record.last_used_at),
        "replaces": record.replaces,
    }
