"""The leader's last look, kept in one row for whoever asks: the API, and figures for monitoring."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.consistency_rules import Found, is_clean
from db.engine import Link

NAME = "scheduled"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a look found: `counts` by code, without those of which nothing was found. `seconds`: how long it took."""

    checked_at: datetime
    seconds: float
    worker: UUID
    clean: bool
    counts: dict[str, int]


async def keep(link: Link, found: Mapping[str, Found], *, worker: UUID, seconds: float) -> None:
    """Keeps a look in the place of the one before."""
    await link.fetch(
        "consistency_keep",
        name=NAME,
        seconds=seconds,
        worker=worker,
        clean=is_clean(found),
        counts=json.dumps({code: one.count for code, one in sorted(found.items())}),
    )


async def kept(link: Link) -> Kept | None:
    """The last look, or None before the first."""
    row = await link.row("consistency_kept", name=NAME)
    if row is None:
        return None
    return Kept(row["checked_at"], row["seconds"], row["worker_id"], row["clean"], json.loads(row["counts"]))
