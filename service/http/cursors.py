"""Cursors of lists: opaque to clients, bound to the list and the filters they came from."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from service.http.problems import invalid_field
from service.http.strict_json import encode

_CURSOR_VERSION = 1


def list_hash(route: str, given: Mapping[str, Sequence[str]]) -> str:
    """What a cursor belongs to: a list and its filters, in whatever order they were written."""
    canonical = json.dumps([route, sorted((name, sorted(values)) for name, values in given.items())])
    return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()


def cursor_text(digest: str, *place: Any) -> str:
    """An opaque cursor for `place` in the list of `digest`."""
    raw = encode([_CURSOR_VERSION, digest, *(str(part) if isinstance(part, UUID) else part for part in place)])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def cursor_place(text: str, digest: str) -> list[Any]:
    """The place of a cursor. Raises Problem where it is none, or belongs to other filters."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, found, *place = json.loads(raw)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise invalid_field("cursor", "is no cursor of this list", "cursor") from None
    if version != _CURSOR_VERSION or found != digest:
        raise invalid_field("cursor", "belongs to another list, or to other filters", "cursor-mismatch")
    found_place: list[Any] = place
    return found_place
