"""Reading requests: bodies within limits, query parameters that are known, headers that are well formed."""

import asyncio
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.http import strict_json
from service.http.addresses import is_fixed
from service.http.problems import FieldError, Problem, invalid, invalid_field, not_found
from service.services import services_of
from service.version import server_version

MAX_BODY = 1024 * 1024
"""Bytes of a body."""
MAX_BATCH_BODY = 32 * 1024 * 1024
"""Bytes of the body of a batch."""
MAX_WAIT = 30.0
"""Seconds that an answer is held at most."""

_UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")  # `$` would let a line end through
_KEY = re.compile(r"^[\x21-\x7e]{1,255}\Z")
_STRING = r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"'
_BARE = r"-?\d{1,15}(?:\.\d{1,3})?|[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]*|:[A-Za-z0-9+/=]*:|\?[01]|" + _STRING
# a string of RFC 9651, 3.3.3, with the parameters that 3.1.2 lets any item have
_STRING_ITEM = re.compile(rf"^{_STRING}(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:{_BARE}))?)*\Z")
_JSON = re.compile(r"^application/(json|[a-z0-9.+-]+\+json)$")


_AT_ONCE: Final = 256 * 1024
"""Bytes of a body that is decoded between two other requests: at most some 25 ms. A longer one is decoded beside them."""
_decoding: Final = ThreadPoolExecutor(1, "errander.json")  # one: a second one would only take turns with it

_ABSENT = object()
"""What a body is that is not there; `null` is one, and no object."""


# The driver takes the first and the last instant of the calendar for PostgreSQL's -infinity and infinity, and these come back
# as times without an offset, which no answer could hold. So they are moved by a microsecond.
_FIRST = datetime.min.replace(tzinfo=UTC, microsecond=1)
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=999_998)


async def body_of(request: Request, *, limit: int = MAX_BODY) -> dict[str, object]:
    """The body as a JSON object. Raises Problem."""
    value = await _value_of(request, limit)
    if value is _ABSENT:
        raise Problem("malformed-json", "the body is empty; a JSON object is needed")
    return _as_object(value)


async def action_body_of(request: Request) -> dict[str, object]:
    """The body of an action, which may be absent, empty or `{}`. Raises Problem."""
    value = await _value_of(request, MAX_BODY)
    return {} if value is _ABSENT else _as_object(value)


def _as_object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise invalid_field("", "the body must be a JSON object", "type")
    return value


async def _value_of(request: Request, limit: int) -> object:
    raw = await _bytes_of(request, limit)
    if not raw.strip():
        return _ABSENT
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _JSON.match(media):
        raise Problem("unsupported-media-type", f"the body is declared as {media or 'nothing'}; send application/json")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Problem(
            "unsupported-media-type", f"content encoding {encoding[:40]!r} is not read; send the body as it is"
        )
    if len(raw) <= _AT_ONCE:
        return strict_json.decode(raw)
    decode = partial(strict_json.decode, raw, yielding=True)
    return await asyncio.get_running_loop().run_in_executor(_decoding, decode)


async def _bytes_of(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem("payload-too-large", f"the body is larger than {limit // (1024 * 1024)} MiB")


def id_of(text: str) -> UUID | None:
    """An id, or None for what is none: ids are opaque, so a malformed one is one that does not exist."""
    return UUID(text) if _UUID.match(text) else None


async def _job_id(request: Request, job_id: Annotated[str, Path(description="The id of a job.")]) -> UUID:
    found = id_of(job_id)
    if found is None:
        # `/v1/jobs/batch` and its like: another route's address, by a method it does not have
        if is_fixed(request, services_of(request).methods):
            raise HTTPException(405)
        raise not_found(f"job {job_id[:100]!r}")
    return found


JobId = Annotated[UUID, Depends(_job_id)]
"""The job's id in a path; one that is malformed is `not-found`."""


def refuse_unknown(request: Request, known: Iterable[str] = ()) -> None:
    """Raises Problem unless every query parameter is one of `known`, once."""
    if not request.scope["query_string"]:
        return
    items = request.query_params.multi_items()
    allowed = set(known)
    errors = [unknown_parameter(name) for name, _ in items if name not in allowed]
    errors += [
        FieldError(name, "the parameter is given more than once", "repeated")
        for name in allowed
        if len(request.query_params.getlist(name)) > 1
    ]
    if errors:
        raise invalid(errors)


def unknown_parameter(name: str) -> FieldError:
    """The refusal of a query parameter."""
    return FieldError(
        name[:200], f"version {server_version()} of this server knows no such parameter here", "unknown-parameter"
    )


def wait_of(request: Request) -> float:
    """`wait` in seconds, 0 where it is not given. Raises Problem."""
    text = request.query_params.get("wait") if request.scope["query_string"] else None
    if text is None:
        return 0.0
    if not re.match(r"^\d{1,3}(\.\d{1,6})?$", text) or float(text) > MAX_WAIT:
        raise invalid_field("wait", f"must be a number of seconds from 0 to {MAX_WAIT:g}", "range")
    return float(text)


def whole_number(name: str, text: str, lowest: int, highest: int) -> int:
    """A query parameter that is an integer. Raises Problem."""
    if not re.match(r"^\d{1,9}$", text) or not lowest <= int(text) <= highest:
        raise invalid_field(name, f"must be a whole number from {lowest} to {highest}", "range")
    return int(text)


def moment(text: str) -> datetime:
    """A time in RFC 3339 with an offset. Raises ValueError with a message for people."""
    if not re.match(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$", text):
        raise ValueError("must be a time in RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")
    # Python reads at most six digits of a fraction in 3.11.
    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
    try:
        found = datetime.fromisoformat(trimmed)
        found.astimezone(UTC)  # the year may be 0 or 10000 there, and then it could not be stored
    except (ValueError, OverflowError):
        raise ValueError("is no time that exists") from None
    return min(max(found, _FIRST), _LAST)


def idempotency_key_of(request: Request) -> str | None:
    """The key that the header `Idempotency-Key` names, or None. Raises Problem.

    The header is a structured string (draft-ietf-httpapi-idempotency-key-header), whose parameters mean nothing here and are
    left out, as RFC 9651 has it. What does not begin with a quote is the key as it stands.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    text: str | None = given[0].strip()
    if text and text[0] == '"':
        string = _STRING_ITEM.match(text)
        text = string and re.sub(r'\\(["\\])', r"\1", string[1])
    if text is None or len(given) > 1 or not is_key(text):
        raise invalid_field(
            "Idempotency-Key",
            'must be given once, as 1 to 255 visible ASCII characters, with or without quotes: "order-42"',
            "format",
        )
    return text


def is_key(text: str) -> bool:
    """Whether `text` can be an idempotency key."""
    return _KEY.match(text) is not None
