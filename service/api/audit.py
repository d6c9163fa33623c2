"""`/v1/audit`: who did what, newest first."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import audit
from db.audit import Action, Kind, Wanted
from db.reading import Reader, TooSlow
from service.api.documents import AuditPage
from service.auth.principal import principal_of
from service.http.cursors import cursor_place, cursor_text, list_hash
from service.http.guarded_route import GuardedRoute
from service.http.problems import FieldError, invalid, invalid_field
from service.http.requests import moment, refuse_unknown, whole_number
from service.openapi.operations import answers, operation, query
from service.representation import json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)

MAX_PAGE: Final = 200
_MAX_VALUE: Final = 1_000
"""Characters of a filter's value."""
_MAX_ID: Final = 2**63 - 1
_ACTION: Final = re.compile(r"^[a-z-]{1,50}\.([a-z-]{1,50}|\*)\Z")
_KIND: Final = re.compile(r"^[a-z-]{1,50}\Z")
_TIMES: Final = ("after", "before")

_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": _MAX_VALUE}
_TIME: Final = {"type": "string", "format": "date-time"}
_PARAMETERS: Final = [
    query("actor", "Only what this credential did: `key:<id>`, `jwt:<sub>`, `local:<user>`, `anyone`.", _TEXT),
    query(
        "action",
        f"Only this action, or with a prefix such as `job.*` all of its kind: {', '.join(Action)}.",
        {"type": "string", "pattern": r"^[a-z-]{1,50}\.([a-z-]{1,50}|\*)$"},
    ),
    query(
        "object_kind",
        f"Only what was done to this kind of object: {', '.join(Kind)}.",
        {"type": "string", "pattern": "^[a-z-]{1,50}$"},
    ),
    query("object_id", "Only what was done to this object; bulk changes of a job are among it.", _TEXT),
    query("after", "Only from this time on.", _TIME),
    query("before", "Only earlier than this time.", _TIME),
    query("limit", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}),
    query("cursor", "`next_cursor` of the page before."),
    query(
        "include",
        "`ids`: also the ids of the jobs that a bulk change changed.",
        {"type": "string", "enum": ["ids"]},
    ),
]
_FILTERS: Final = ("actor", "action", "object_kind", "object_id", *_TIMES)


@router.get(
    "/v1/audit",
    operation_id="list_audit",
    summary="Who did what, newest first",
    responses=answers(AuditPage),
    openapi_extra=operation("audit:read", parameters=_PARAMETERS),
)
async def list_audit(request: Request) -> Response:
    """Of the credential's tenant: what its credentials did, to its own jobs and keys and to what all tenants share."""
    tenant = principal_of(request).tenant
    refuse_unknown(request, (*_FILTERS, "limit", "cursor", "include"))
    asked = dict(request.query_params)
    given: dict[str, str] = {name: asked[name] for name in _FILTERS if name in asked}
    wanted = _wanted(given)
    limit = whole_number("limit", asked.get("limit", "50"), 1, MAX_PAGE)
    if asked.get("include", "ids") != "ids":
        raise invalid_field("include", "may name ids", "choice")
    digest = list_hash("audit", {name: [value] for name, value in given.items()})
    below = _place(asked.get("cursor"), digest)
    reader = Reader(services_of(request).database)
    try:
        rows, more = await audit.newest(reader, tenant, wanted, below=below, limit=limit, with_ids="include" in asked)
    except TooSlow:
        why = "the log is too long to be searched for this; narrow it by after and before, or by object_kind and object_id"
        raise invalid_field("", why, "too-wide") from None
    following = cursor_text(digest, moment_text(rows[-1]["at"]), rows[-1]["id"]) if more else None
    return json_response({"items": [document(row) for row in rows], "next_cursor": following})


def document(row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as clients see it."""
    changed: dict[str, Any] = {"kind": row["object_kind"], "id": row["object_id"]}
    if row.get("object_ids") is not None:
        changed["ids"] = [str(one) for one in row["object_ids"]]
    return {
        "id": row["id"],
        "at": moment_text(row["at"]),
        "actor": row["actor"],
        "action": row["action"],
        "object": changed,
        "before": row["before"],
        "after": row["after"],
        "reason": row["reason"],
        "request_id": row["request_id"],
        "address": row["address"],
    }


def _wanted(given: Mapping[str, str]) -> Wanted:
    errors = [FieldError(name, why, "filter") for name, value in given.items() if (why := _refusal(name, value))]
    if errors:
        raise invalid(errors)
    values: dict[str, Any] = {name: moment(text) if name in _TIMES else text for name, text in given.items()}
    return Wanted(**values)


def _refusal(name: str, value: str) -> str | None:
    """What is wrong with one value, or None."""
    if not 1 <= len(value) <= _MAX_VALUE or "\0" in value:
        return f"must have 1 to {_MAX_VALUE} characters, none of them NUL"
    if name == "action" and not _ACTION.match(value):
        return "must be an action such as job.cancel, or a prefix such as job.*"
    if name == "object_kind" and not _KIND.match(value):
        return f"must be a kind such as {', '.join(Kind)}"
    if name in _TIMES:
        try:
            moment(value)
        except ValueError as error:
            return str(error)
    return None


def _place(cursor: str | None, digest: str) -> tuple[datetime, int] | None:
    if cursor is None:
        return None
    match cursor_place(cursor, digest):
        # true is an int to Python, but not to PostgreSQL
        case [str(at), int(number)] if type(number) is int and abs(number) <= _MAX_ID:
            try:
                return moment(at), number
            except ValueError:
                pass
    raise invalid_field("cursor", "is no cursor of this list", "cursor")
