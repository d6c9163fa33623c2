"""`/v1/auth/token`: an API key for a short JWT."""

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from db.audit import Action, Kind
from service import audit
from service.api.key_forms import ScopeName
from service.auth.errors import lacks
from service.auth.guard import credential
from service.auth.keys import PREFIX
from service.auth.principal import set_principal
from service.auth.scopes import expanded
from service.fields import Body, read
from service.http.guarded_route import GuardedRoute
from service.http.problems import Problem, invalid, invalid_field
from service.http.requests import action_body_of, refuse_unknown
from service.openapi.operations import CREDENTIAL, answers, operation
from service.representation import json_response, moment_text
from service.services import services_of

router = APIRouter(route_class=GuardedRoute)

DEFAULT_SECONDS: Final = 900.0
"""How long a token is valid where nobody says otherwise."""
NO_STORE: Final = {"Cache-Control": "no-store"}


class TokenBody(Body):
    """Body of `POST /v1/auth/token`. Without `scopes` the token has those of the key."""

    scopes: list[ScopeName] | None = Field(None, min_length=1, max_length=50)
    expires_in: float = Field(DEFAULT_SECONDS, ge=1)


class TokenDocument(BaseModel):
    """A token, as RFC 6749, 5.1 has it."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


@router.post(
    "/v1/auth/token",
    operation_id="create_token",
    summary="Exchange an API key for a short JWT",
    responses=answers(TokenDocument, "malformed-json", "unsupported-media-type"),
    openapi_extra=operation(CREDENTIAL, body=TokenBody, required=False, example={"expires_in": 300}),
)
async def create_token(request: Request) -> Response:
    """The token ends with the key, or before it. A token cannot be exchanged for another."""
    services = services_of(request)
    guard = services.guard
    refuse_unknown(request)
    body = read(TokenBody, await action_body_of(request))
    if isinstance(body, list):
        raise invalid(body)
    # asked for here too, because with ERRANDER_AUTH=off nobody else did
    principal = await guard.authenticated(request.scope)
    set_principal(request.scope, principal)
    if principal.key_id is None or not credential(request.scope).startswith(PREFIX.encode()):
        raise Problem("forbidden", "a token cannot be exchanged for another; send the API key itself")
    if guard.tokens is None or not guard.tokens.can_sign:
        raise Problem(
            "not-found", "this server issues no tokens: ERRANDER_JWT_SECRET is not set; use the API key itself"
        )
    longest = services.settings.jwt_max_age_seconds
    if body.expires_in > longest:
        raise invalid_field("/expires_in", f"must be at most {longest:g} seconds", "range")
    scopes = principal.scopes
    if body.scopes is not None:
        try:
            scopes = expanded(body.scopes)
        except ValueError as error:
            raise invalid_field("/scopes", str(error), "scope") from None
        if not scopes <= principal.scopes:
            raise lacks(min(scopes - principal.scopes))
    ends = datetime.now(UTC) + timedelta(seconds=int(body.expires_in))
    async with services.database.begin() as link:
        after = {"scopes": sorted(scopes), "expires_at": moment_text(ends)}
        await audit.record(link, request, Action.KEY_TOKEN, Kind.KEY, principal.key_id, after=after)
    text = guard.tokens.issue(
        subject=principal.name,
        tenant=principal.tenant,
        scopes=scopes,
        key_id=principal.key_id,
        seconds=body.expires_in,
    )
    answer = {
        "access_token": text,
        "token_type": "Bearer",
        "expires_in": int(body.expires_in),
        "scope": " ".join(sorted(scopes)),
    }
    return json_response(answer, headers=NO_STORE)
