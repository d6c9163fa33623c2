"""`/v1/keys`: API keys of the tenant: make, list, rotate, revoke."""

import time
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from db import keys
from db.audit import Action, Kind
from db.keys import KeyRecord
from service import audit, fields
from service.api.key_forms import KeyBody, KeyDocument, KeyPage, NewKeyDocument, RotateBody
from service.auth.errors import lacks
from service.auth.guard import Guard
from service.auth.issuing import Wish, granted, issue, key_document
from service.auth.principal import Principal, principal_of
from service.auth.scopes import Scope, known
from service.fields import read
from service.http.cursors import cursor_place, cursor_text, list_hash
from service.http.guarded_route import GuardedRoute
from service.http.problems import Problem, invalid, invalid_field, not_found
from service.http.requests import action_body_of, body_of, refuse_unknown, whole_number
from service.openapi.operations import answers, operation, query
from service.representation import json_response, moment_text
from service.services import services_of
from service.submit.submission import contradictions

router = APIRouter(route_class=GuardedRoute)

MAX_PAGE: Final = 200
_NO_STORE: Final = {"Cache-Control": "no-store"}

_PAGING = [
    query("limit", "Keys a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}),
    query("cursor", "`next_cursor` of the page before."),
]


@router.post(
    "/v1/keys",
    status_code=201,
    operation_id="create_key",
    summary="Make an API key",
    responses=answers(NewKeyDocument, "malformed-json", "unsupported-media-type", status=201),
    openapi_extra=operation(
        Scope.KEYS_MANAGE, body=KeyBody, example={"name": "shop", "scopes": ["submitter"], "tasks": ["email.*"]}
    ),
)
async def create_key(request: Request) -> Response:
    """Of one's own tenant, with no more than one's own scopes, and valid for no longer than the credential it is made with."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    body = read(KeyBody, await body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    errors = contradictions(None, None, body.expires_at, body.expires_in)
    if errors:
        raise invalid(errors)
    _refuse_more(principal, body.scopes)
    _refuse_outliving(principal, body.expires_at, body.expires_in)
    has_end = body.expires_at is not None or body.expires_in is not None
    wish = Wish(
        tenant=principal.tenant,
        name=body.name,
        scopes=body.scopes,
        by=principal.name,
        tasks=body.tasks,
        max_priority=body.max_priority,
        expires_at=body.expires_at if has_end else _end_of(principal),
        expires_in=body.expires_in,
    )
    async with services.database.begin() as link:
        record, text = await issue(link, _guard(request).pepper, wish)
        await audit.record(link, request, Action.KEY_CREATE, Kind.KEY, record.id, after=granted(record))
    return _shown_once(request, record, text)


def _refuse_more(principal: Principal, scopes: list[str]) -> None:
    """Raises Problem where a key would be allowed more than whoever makes it."""
    if principal.is_restricted:
        raise Problem("forbidden", "a credential that is narrowed to tasks or a priority makes no keys")
    missing = known(scopes) - principal.scopes
    if missing:
        raise lacks(min(missing))


def _end_of(principal: Principal) -> datetime | None:
    return None if principal.expires_at is None else datetime.fromtimestamp(principal.expires_at, UTC)


def _refuse_outliving(principal: Principal, expires_at: datetime | None, expires_in: float | None) -> None:
    """Raises Problem where a key is wished for longer than the credential that it is made with is valid."""
    end, wished = principal.expires_at, None if expires_at is None else expires_at.timestamp()
    if expires_in is not None:
        wished = time.time() + expires_in
    if end is not None and wished is not None and wished > end:
        raise _outlives(principal)


def _outlives(principal: Principal) -> Problem:
    return Problem(
        "forbidden",
        f"this credential ends at {moment_text(_end_of(principal))}, and what is made with it may not be valid for longer; "
        "use one that does not end before",
    )


def _shown_once(request: Request, record: KeyRecord, text: str) -> Response:
    headers = _NO_STORE | {"Location": f"{request.scope.get('root_path', '')}/v1/keys/{record.id}"}
    return json_response(key_document(record) | {"key": text}, 201, headers)


def _guard(request: Request) -> Guard:
    return services_of(request).guard


@router.get(
    "/v1/keys",
    operation_id="list_keys",
    summary="List API keys, newest first",
    responses=answers(KeyPage),
    openapi_extra=operation(Scope.KEYS_MANAGE, parameters=_PAGING),
)
async def list_keys(request: Request) -> Response:
    """Those of one's own tenant, revoked and expired ones too."""
    services, tenant = services_of(request), principal_of(request).tenant
    refuse_unknown(request, ("limit", "cursor"))
    limit = whole_number("limit", request.query_params.get("limit", "50"), 1, MAX_PAGE)
    digest = list_hash("keys", {})
    found = await keys.newest(
        services.database.link, tenant, after=_place(request.query_params.get("cursor"), digest), n=limit + 1
    )
    page, more = found[:limit], len(found) > limit
    following = cursor_text(digest, moment_text(page[-1].created_at), page[-1].id) if more else None
    return json_response({"items": [key_document(one) for one in page], "next_cursor": following})


def _place(cursor: str | None, digest: str) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    match cursor_place(cursor, digest):
        case [str(at), str(key_id)]:
            try:
                return datetime.fromisoformat(at), key_id.replace("\0", "")
            except ValueError:
                pass
    raise invalid_field("cursor", "is no cursor of this list", "cursor")


@router.get(
    "/v1/keys/{key_id}",
    operation_id="get_key",
    summary="Read what is known of an API key",
    responses=answers(KeyDocument),
    openapi_extra=operation(Scope.KEYS_MANAGE),
)
async def get_key(request: Request, key_id: str) -> Response:
    """Never the key itself."""
    refuse_unknown(request)
    record = await keys.find(services_of(request).database.link, key_id) if "\0" not in key_id else None
    if record is None or record.tenant != principal_of(request).tenant:
        raise _no_key(key_id)
    return json_response(key_document(record))


@router.post(
    "/v1/keys/{key_id}/revoke",
    operation_id="revoke_key",
    summary="End an API key for good",
    responses=answers(KeyDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation(Scope.KEYS_MANAGE, body=fields.ReasonBody, required=False, example={"reason": "leaked"}),
)
async def revoke_key(request: Request, key_id: str) -> Response:
    """Other processes go on with what they know of it for at most five seconds. Revoking twice is revoking once."""
    services, principal = services_of(request), principal_of(request)
    refuse_unknown(request)
    body = read(fields.ReasonBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    async with services.database.begin() as link:
        before = await keys.lock(link, principal.tenant, key_id) if "\0" not in key_id else None
        record = before and await keys.revoke(link, principal.tenant, key_id)
        if before is None or record is None:
            raise _no_key(key_id)
        if before.revoked_at is None:
            was, became = {"revoked_at": None}, {"revoked_at": moment_text(record.revoked_at)}
            await audit.record(
                link, request, Action.KEY_REVOKE, Kind.KEY, key_id, before=was, after=became, reason=body.reason
            )
    _guard(request).forget()
    return json_response(key_document(record))


@router.post(
    "/v1/keys/{key_id}/rotate",
    status_code=201,
    operation_id="rotate_key",
    summary="Make the successor of an API key",
    responses=answers(
        NewKeyDocument, "malformed-json", "unsupported-media-type", "key-not-active", "rotation-under-way", status=201
    ),
    openapi_extra=operation(Scope.KEYS_MANAGE, body=RotateBody, required=False, example={"overlap": 3600}),
)
async def rotate_key(request: Request, key_id: str) -> Response:
    """The same name, scopes and limits; both keys are good until the overlap ends."""
    refuse_unknown(request)
    body = read(RotateBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    record, text = await _rotated(request, key_id, body.overlap)
    _guard(request).forget()
    return _shown_once(request, record, text)


async def _rotated(request: Request, key_id: str, overlap: float) -> tuple[KeyRecord, str]:
    principal = principal_of(request)
    async with services_of(request).database.begin() as link:
        former = await keys.lock(link, principal.tenant, key_id) if "\0" not in key_id else None
        if former is None:
            raise _no_key(key_id)
        if not former.active:
            raise Problem("key-not-active", f"key {key_id} has expired or was revoked; make a new one")
        _refuse_more(principal, list(former.scopes))
        partner = await keys.partner(link, former)
        if partner is not None:
            raise _under_way(former, partner)
        made, text = await issue(link, _guard(request).pepper, _successor(former, principal))
        retired = await keys.retire(link, principal.tenant, key_id, seconds=overlap)
        was = {"retires_at": moment_text(former.retires_at)}
        became = {"retires_at": retired and moment_text(retired.retires_at), "successor": made.id}
        await audit.record(link, request, Action.KEY_ROTATE, Kind.KEY, key_id, before=was, after=became)
        await audit.record(link, request, Action.KEY_CREATE, Kind.KEY, made.id, after=granted(made))
    return made, text


def _successor(former: KeyRecord, maker: Principal) -> Wish:
    """As long as the former was meant to be valid, and no longer than the maker's credential is.

    Raises Problem where that is less than the former has: a rotation must not end earlier what it renews.
    """
    lifetime = None if former.expires_at is None else (former.expires_at - former.created_at).total_seconds()
    ends_with = _end_of(maker)
    if ends_with is not None:
        if former.expires_at is None or former.expires_at > ends_with:
            raise _outlives(maker)
        if lifetime is not None and time.time() + lifetime <= ends_with.timestamp():
            ends_with = None
    return Wish(
        tenant=former.tenant,
        name=former.name,
        scopes=former.scopes,
        by=maker.name,
        tasks=former.tasks,
        max_priority=former.max_priority,
        expires_at=ends_with,
        expires_in=lifetime,
        replaces=former.id,
    )


def _under_way(former: KeyRecord, partner: KeyRecord) -> Problem:
    if partner.replaces == former.id:
        why = (
            f"key {former.id} has a successor, {partner.id}, since {moment_text(partner.created_at)}: use that one; "
            "if it was lost, revoke it and rotate again"
        )
    else:
        why = (
            f"key {partner.id}, which {former.id} replaces, is still good, until {moment_text(partner.ends_at)}: "
            "revoke it, or wait until then, and rotate again"
        )
    return Problem("rotation-under-way", why, key_id=partner.id)


def _no_key(key_id: str) -> Problem:
    return not_found(f"key {key_id[:100]!r}")
