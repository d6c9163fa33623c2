"""Writing the audit log: who asks comes from the request, what changed from the rows as they were locked.

An entry is written in the transaction of what it tells. What changed nothing is not told, and a submit is not either: the
job itself is its record. Payloads are never copied, only that they changed.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from db import audit
from db.audit import Action, Entry, Kind, digest
from db.engine import Link
from db.pauses import Turned
from db.records import JobRecord
from service.auth.principal import DEFAULT_TENANT, principal_of
from service.http.strict_json import encode
from service.representation import job_document

_OF_A_JOB: Final = (
    *("status", "priority", "pool", "run_at", "payload", "max_attempts", "timeout", "backoff", "expires_at", "tags"),
    *("metadata", "failures", "crashes", "replays", "cancel_requested_at"),
)
"""What a person can change of a job, directly or by what they do."""
_MAX_VALUE: Final = 1_000
"""Characters of one value as JSON; of a longer one only a digest is kept."""
_MAX_ADDRESS: Final = 100


async def record(
    link: Link,
    request: Request,
    action: Action,
    kind: Kind,
    object_id: str | None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
    object_ids: Sequence[UUID] | None = None,
) -> None:
    """Writes what whoever sent `request` did, inside the transaction that does it. Raises the errors of `db.errors`.

    `before` and `after` hold what changed, in the words of the API; of what is larger than 8 KiB only a digest is kept.
    Either `object_id` or `object_ids` is given.
    """
    principal = principal_of(request)
    await audit.write(
        link,
        Entry(
            tenant=principal.tenant,
            actor=principal.name,
            actor_key=principal.key_id,
            action=action,
            kind=kind,
            object_id=object_id,
            object_ids=object_ids,
            before=before,
            after=after,
            reason=reason,
            request_id=request.scope.get("errander.request_id"),
            address=_address(request),
        ),
    )


async def record_local(
    link: Link,
    action: Action,
    kind: Kind,
    object_id: str | None = None,
    *,
    tenant: str = DEFAULT_TENANT,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    object_ids: Sequence[UUID] | None = None,
) -> None:
    """Writes what a command did on a machine that reaches the database, past the API, by whoever ran it."""
    entry = Entry(tenant, local_actor(), action, kind, object_id, object_ids=object_ids, before=before, after=after)
    await audit.write(link, entry)


async def record_change(
    link: Link, request: Request, action: Action, before: JobRecord, after: JobRecord, *, reason: str | None = None
) -> None:
    """Writes what changed of one job; nothing where nothing did. Both records are of the row that this transaction holds."""
    was, became = job_changes(before, after)
    if was or became:
        await record(link, request, action, Kind.JOB, str(after.id), before=was, after=became, reason=reason)


async def record_turn(
    link: Link, request: Request, action: Action, *, kind: Kind, name: str, turned: Turned, reason: str | None
) -> None:
    """Writes the pause or the resume of a queue or a task; nothing where it stood like that already."""
    if not turned.changed:
        return
    before: dict[str, Any] = {"paused": turned.was_paused}
    if turned.was_paused:
        before["reason"] = turned.former_reason
    after: dict[str, Any] = {"paused": action in (Action.QUEUE_PAUSE, Action.TASK_PAUSE)}
    if after["paused"]:
        after["reason"] = reason
    await record(link, request, action, kind, name, before=before, after=after, reason=reason)


def local_actor() -> str:
    """`local:<user>`, by the process's user and not by its environment."""
    try:
        return f"local:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container may run under a number that has no name
        return f"local:{os.getuid()}"


def job_changes(before: JobRecord, after: JobRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is not the same, as it was and as it is, in the words of the API. Pure."""
    was, became = job_document(before), job_document(after)
    changed = [name for name in _OF_A_JOB if was[name] != became[name]]
    return {name: _kept(name, was[name]) for name in changed}, {name: _kept(name, became[name]) for name in changed}


def filter_kept(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filter of a bulk change; a value that it looked for in payloads is not copied. Pure."""
    return {name: _kept("payload" if name.startswith("payload.") else name, value) for name, value in given.items()}


def _kept(name: str, value: Any) -> Any:
    return digest(value) if name == "payload" or len(encode(value)) > _MAX_VALUE else value


def _address(request: Request) -> str | None:
    """The client's, which the server takes from the proxies that it trusts; None on a socket of the file system."""
    return (request.client.host[:_MAX_ADDRESS] or None) if request.client else None
