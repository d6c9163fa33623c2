"""What is sent and answered about API keys."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from service import fields
from service.auth.issuing import TASKS_FORM
from service.auth.scopes import NAMES, expanded
from service.fields import Body

LONGEST_OVERLAP: Final = 30 * 86_400.0
"""Seconds that a key and its successor are both good, at most."""


def _scopes(value: list[str]) -> list[str]:
    try:
        return sorted(expanded(value))
    except ValueError as error:
        raise PydanticCustomError("scope", "{why}", {"why": str(error)}) from None


def _tasks(value: list[str]) -> list[str]:
    for name in value:
        if not TASKS_FORM.fullmatch(name):
            raise PydanticCustomError("format", "must be names of tasks, or prefixes such as email.*")
    return value


Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
ScopeName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(NAMES)})]
"""Checked by what reads them; this is for the description of the API."""
_TaskName = Annotated[str, WithJsonSchema({"type": "string", "pattern": TASKS_FORM.pattern.replace(r"\Z", "$")})]
Scopes = Annotated[list[ScopeName], Field(min_length=1, max_length=50), AfterValidator(_scopes)]
Tasks = Annotated[list[_TaskName], Field(min_length=1, max_length=200), AfterValidator(_tasks)]


class KeyBody(Body):
    """Body of `POST /v1/keys`. `scopes` may name roles; `tasks` and `max_priority` narrow what the key may submit."""

    name: Name
    scopes: Scopes
    tasks: Tasks | None = None
    max_priority: fields.PriorityName | None = None
    expires_at: fields.Moment | None = None
    expires_in: float | None = Field(None, gt=0, le=fields.MAX_DELAY)


class RotateBody(Body):
    """Body of `POST /v1/keys/{id}/rotate`: for how many seconds the former key is still good."""

    overlap: float = Field(86_400.0, ge=0, le=LONGEST_OVERLAP)


class KeyDocument(BaseModel):
    """An API key: everything but the key."""

    id: str
    name: str
    tenant: str
    last_four: str
    scopes: list[str]
    tasks: list[str] | None
    max_priority: Literal["high", "default", "low"] | None
    active: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    retires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None


class NewKeyDocument(KeyDocument):
    """A key that has just been made; `key` is shown this once."""

    key: str


class KeyPage(BaseModel):
    """A page of keys."""

    items: list[KeyDocument]
    next_cursor: str | None
