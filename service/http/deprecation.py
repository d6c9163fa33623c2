"""How a route says that it will go: `Deprecation` (RFC 9745) and `Sunset` (RFC 8594) with every answer, and the same in the
description of the API.

Nothing is deprecated yet. `operation(…, deprecated=since, sunset=until)` is all that it takes.
"""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final

from service.http.headers import Pair

SINCE: Final = "x-deprecated-since"
UNTIL: Final = "x-sunset"


def declared(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """What the description says of an operation that is deprecated `since` and gone `until`; both aware, in UTC.

    Raises ValueError for an end without a beginning, or before it (RFC 9745, 4). Pure.
    """
    if since is None:
        if until is not None:
            raise ValueError("what ends has to be deprecated before")
        return {}
    if until is not None and until < since:
        raise ValueError("a sunset is not earlier than the deprecation")
    found: dict[str, Any] = {"deprecated": True, SINCE: since.isoformat()}
    return found if until is None else found | {UNTIL: until.isoformat()}


def notice_of(operation: Mapping[str, Any]) -> tuple[Pair, ...]:
    """The headers for what `declared` wrote. Pure."""
    if SINCE not in operation:
        return ()
    since = datetime.fromisoformat(operation[SINCE])
    found: list[Pair] = [(b"deprecation", f"@{int(since.timestamp())}".encode())]
    if UNTIL in operation:
        until = datetime.fromisoformat(operation[UNTIL])
        found.append((b"sunset", format_datetime(until, usegmt=True).encode()))
    return tuple(found)
