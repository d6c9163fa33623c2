"""What a pause or a resume of a queue or a task did."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True)
class Turned:
    """How it stood before, and whether that is another state than now. Of a locked row."""

    changed: bool
    was_paused: bool
    former_reason: str | None = None


async def paused(row: asyncpg.Record, reason: str | None, give_reason: Callable[[str], Awaitable[object]]) -> Turned:
    """After the insert of a pause, which answered `row`: one that was there already takes a new reason, if there is one."""
    former: str | None = row["reason"]
    if row["new"]:
        return Turned(changed=True, was_paused=False)
    if reason is None or reason == former:
        return Turned(changed=False, was_paused=True, former_reason=former)
    await give_reason(reason)
    return Turned(changed=True, was_paused=True, former_reason=former)


def resumed(row: asyncpg.Record | None) -> Turned:
    """After the delete of a pause, which answered `row`, if there was one."""
    if row is None:
        return Turned(changed=False, was_paused=False)
    return Turned(changed=True, was_paused=True, former_reason=row["reason"])
