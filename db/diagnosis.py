"""What `errander doctor` asks PostgreSQL."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from db.engine import Link


@dataclass(frozen=True, slots=True)
class Server:
    """The server as one connection sees it. `offset` is its clock minus this machine's, in seconds."""

    version: int
    version_text: str
    role: str
    offset: float
    settings: dict[str, str]
    """Setting → value with its base unit, such as `5000ms`."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Live workers, and the id of the one that leads."""

    workers: int
    leader: UUID | None


async def server(link: Link, names: Sequence[str]) -> Server:
    """The server, with the settings `names`. Raises the errors of `db.errors`."""
    asked = time.time()
    row = await link.row("server", names=list(names))
    middle = (asked + time.time()) / 2
    if row is None:
        raise AssertionError("the statement has no FROM, so it always gives a row")
    return Server(
        row["version"],
        row["version_text"],
        row["role"],
        row["now"].timestamp() - middle,
        json.loads(row["settings"] or "{}"),
    )


async def fleet(link: Link, lease: float) -> Fleet:
    """The fleet. A worker is live while its beat is younger than `lease` seconds."""
    row = await link.row("fleet", lease=lease)
    return Fleet(0, None) if row is None else Fleet(row["workers"], row["leader"])
