"""What a route says of itself for the description: `operation` and `answers`, beside the route.

Routes return finished responses, so FastAPI sees neither their bodies nor their parameters. `service.openapi.document` adds
what follows from what is said here.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from service.http.deprecation import declared
from service.http.guarded_route import SCHEME, SECURITY
from service.http.problems import CODES
from service.openapi.parts import headers_named

BODIES: Final[dict[str, type[BaseModel]]] = {}
"""The models of all bodies that operations name."""
ITEMS: Final[dict[tuple[str, str], str]] = {}
"""By model and member: the model of what a list holds whose entries are checked one by one."""
REF: Final = "#/components/schemas/{model}"
PROBLEMS: Final = "x-problems"
"""Where `answers` leaves the codes of a status for the document; no part of the description."""

CREDENTIAL = ""
"""No scope, but a valid credential."""

ALWAYS = ("validation-failed", "internal", "unavailable")
"""Problems that any route under `/v1` can answer with."""


def operation(
    scope: str | None,
    *,
    body: type[BaseModel] | None = None,
    items: Mapping[str, type[BaseModel]] | None = None,
    required: bool = True,
    example: Any = None,
    parameters: Sequence[Mapping[str, Any]] = (),
    deprecated: datetime | None = None,
    sunset: datetime | None = None,
) -> dict[str, Any]:
    """What FastAPI cannot see of a route: the scope it needs, its body, its query parameters and headers.

    Without a scope everybody is let in; `CREDENTIAL` lets in whoever has a valid credential. `items` says what a list in the
    body holds where its entries are checked one by one, and not with the body. An operation that is
    `deprecated` since a moment, and gone at its `sunset`, says so in every answer.
    """
    found: dict[str, Any] = {SECURITY: [] if scope is None else [{SCHEME: [scope] if scope else []}]}
    if scope:
        found["x-scope"] = str(scope)
    if parameters:
        found["parameters"] = [dict(parameter) for parameter in parameters]
    if body is not None:
        BODIES[body.__name__] = body
        for name, model in (items or {}).items():
            BODIES[model.__name__] = model
            ITEMS[body.__name__, name] = model.__name__
        content: dict[str, Any] = {"schema": {"$ref": REF.format(model=body.__name__)}}
        if example is not None:
            content["example"] = example
        found["requestBody"] = {"required": required, "content": {"application/json": content}}
    return found | declared(deprecated, sunset)


def query(
    name: str, description: str, schema: Mapping[str, Any] | None = None, *, repeatable: bool = False
) -> dict[str, Any]:
    """A query parameter."""
    one = dict(schema or {"type": "string"})
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "array", "items": one} if repeatable else one,
    }


def header(name: str, description: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A request header."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": dict(schema or {"type": "string"}),
    }


_TAGS: Final = {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'}
_TAG: Final = 'W/"1f0c2a9e1d7b4c55a0"'
IF_MATCH: Final = header(
    "If-Match", "The `ETag` of the job as it was read: if it has changed since, nothing is done (412).", _TAGS
) | {"example": _TAG}
IF_NONE_MATCH: Final = header(
    "If-None-Match", "The `ETag` of the job as it is known: 304 while it is still that.", _TAGS
)


def answers(
    model: type[BaseModel], *codes: str, status: int = 200, also: int | None = None, headers: Sequence[str] = ()
) -> dict[int | str, dict[str, Any]]:
    """The answers of a route: `model` with `status` (and `also`) and `headers`, and the problems `codes`.

    Problems that follow from what the route is (its body, its scope, its path) need not be named.
    """
    kept = "Kept: committed in PostgreSQL" if status == 202 else "Done"
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": kept, "headers": headers_named(headers)}
    }
    if also is not None:
        found[also] = {
            "model": model,
            "description": "The job, as it is now",
            "headers": headers_named(headers),
        }
    for number, names in by_status((*codes, *ALWAYS)).items():
        found[number] = {"description": "", PROBLEMS: names}
    return found


def by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """Codes of problems, by the status they are answered with."""
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(CODES[code].status, []).append(code)
    return found
