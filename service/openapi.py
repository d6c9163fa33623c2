"""The description of the API: built from the models that check requests, so that it cannot say something else.

Routes return finished responses, and FastAPI does not see their bodies or parameters; `operation` and `answers` say them
beside the route. `build` adds what follows from that: the models that are named, the problems that any such route can answer
with, and the headers of every answer.

The document has the version of the API, not that of the server, so the one that is kept in the repository (`make openapi`)
changes only with what it describes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.deprecation import SINCE, UNTIL, declared
from service.guarded_route import SCHEME, SECURITY
from service.openapi_parts import (
    EVERYWHERE,
    HEADERS,
    LIMITED,
    OWNERS,
    PATH_PARAMETERS,
    headers_named,
    problem_answer,
    problem_examples,
    problem_schema,
)
from service.problems import CODES
from service.version import API_VERSION

_BODIES: Final[dict[str, type[BaseModel]]] = {}
_ITEMS: Final[dict[tuple[str, str], str]] = {}
_SCHEMAS: Final = "#/components/schemas/"
_REF: Final = _SCHEMAS + "{model}"
_CODES: Final = "x-problems"
"""Where `answers` leaves the codes of a status for `build`; no part of the description."""

CREDENTIAL = ""
"""No scope, but a valid credential."""

ALWAYS = ("validation-failed", "internal", "unavailable")
"""Problems that any route under `/v1` can answer with."""
_WITH_PATH: Final = ("not-found",)
_WITH_BODY: Final = ("malformed-json", "payload-too-large", "unsupported-media-type")
_TOO_LARGE: Final = {"query": "uri-too-long", "header": "headers-too-large"}
_GUARDED: Final = ("unauthenticated", "forbidden", "quota-exceeded")

_ABOUT: Final = (
    "Durable job scheduling and execution. Times are RFC 3339 in UTC, durations seconds. Every 4xx and 5xx is a problem "
    "document (RFC 9457). Beside what each operation lists, any request may be answered with 400 `malformed-request`, 404 "
    "`not-found`, 405 `method-not-allowed`, 414 `uri-too-long` or 431 `headers-too-large`. HEAD is answered wherever GET is."
)


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
        _BODIES[body.__name__] = body
        for name, model in (items or {}).items():
            _BODIES[model.__name__] = model
            _ITEMS[body.__name__, name] = model.__name__
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=body.__name__)}}
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
    for number, names in _by_status((*codes, *ALWAYS)).items():
        found[number] = {"description": "", _CODES: names}
    return found


def _by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(CODES[code].status, []).append(code)
    return found


def build(app: FastAPI) -> dict[str, Any]:
    """The whole description; built once."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title="Errander", version=API_VERSION, description=_ABOUT, routes=app.routes)
    components = schema.setdefault("components", {})
    problems: dict[str, Any] = components.setdefault("responses", {})
    for path, operations in schema["paths"].items():
        for one in operations.values():
            _complete(path, one, problems)
    _link(schema["paths"])
    models = components.setdefault("schemas", {})
    if _BODIES:
        _, bodies = models_json_schema([(model, "validation") for model in _BODIES.values()], ref_template=_REF)
        models.update(bodies["$defs"])
        for (name, member), model in _ITEMS.items():
            models[name]["properties"][member]["items"] = {"$ref": _REF.format(model=model)}
    models["Problem"] = problem_schema()
    components["headers"] = HEADERS
    components["examples"] = problem_examples()
    components["securitySchemes"] = {
        SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT."}
    }
    app.openapi_schema = _only_used(schema)
    return app.openapi_schema


def _complete(path: str, one: dict[str, Any], problems: dict[str, Any]) -> None:
    """Adds to an operation what follows from it. Answers that are problems stand in `problems`, and many share one."""
    one["tags"] = [path.split("/")[2] if path.startswith("/v1/") else "system"]
    for parameter in one.get("parameters", ()):
        if parameter["in"] == "path":
            parameter.update(PATH_PARAMETERS.get(parameter["name"], {}))
    answered = one["responses"]
    is_guarded = bool(one.get(SECURITY))
    # what FastAPI adds to routes with parameters; here nothing is answered in that form
    if "HTTPValidationError" in str(answered.get("422", "")):
        del answered["422"]
    codes = {code for response in answered.values() for code in response.pop(_CODES, ())}
    codes |= set(_WITH_BODY if "requestBody" in one else ())
    codes |= set(_WITH_PATH if "{" in path else ())
    codes |= {_TOO_LARGE[some["in"]] for some in one.get("parameters", ()) if some["in"] in _TOO_LARGE}
    codes |= set((*_GUARDED, *ALWAYS) if is_guarded else ())
    always = [*EVERYWHERE, *(LIMITED if is_guarded else ())]
    always += [name for name, sign in (("Deprecation", SINCE), ("Sunset", UNTIL)) if sign in one]
    for response in answered.values():
        response["headers"] = response.get("headers", {}) | headers_named(always)
    for status, names in _by_status(sorted(codes)).items():
        name = "_".join(names)
        problems[name] = problem_answer(names)
        answered[str(status)] = {"$ref": f"#/components/responses/{name}"}
    one["responses"] = dict(sorted(answered.items()))


def _link(paths: dict[str, dict[str, Any]]) -> None:
    """Says beside what was made (201, 202) which operations its id is for."""
    operations = [(path, one) for path, methods in paths.items() for one in methods.values()]
    for parameter, owner in OWNERS.items():
        leads_to = {
            one["operationId"]: {
                "operationId": one["operationId"],
                "parameters": {parameter: "$response.body#/id"},
            }
            for path, one in operations
            if f"{{{parameter}}}" in path
        }
        for _, one in operations:
            for status in ("201", "202"):
                made = one["responses"].get(status, {})
                if made.get("content", {}).get("application/json", {}).get("schema") == {"$ref": owner}:
                    made["links"] = leads_to


def _only_used(schema: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what no operation leads to: models are collected from all routes there are, not only from this app's."""
    kept: set[str] = set()
    pending = set(_references(schema["paths"]))
    while pending:
        reference = pending.pop()
        kept.add(reference)
        _, _, kind, name = reference.split("/")
        pending |= set(_references(schema["components"][kind][name])) - kept
    for kind in ("schemas", "headers", "examples"):
        schema["components"][kind] = {
            name: part
            for name, part in sorted(schema["components"][kind].items())
            if f"#/components/{kind}/{name}" in kept
        }
    return schema


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
