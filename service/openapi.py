"""The description of the API: built from the models that check requests, so that it cannot say something else.

Routes return finished responses, and FastAPI does not see their bodies or parameters; `operation` says them beside the
route, and `build` puts the models they name among the components.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.guarded_route import SCHEME, SECURITY
from service.problems import CODES, MEDIA_TYPE
from service.version import server_version

_BODIES: dict[str, type[BaseModel]] = {}
_REF = "#/components/schemas/{model}"

CREDENTIAL = ""
"""No scope, but a valid credential."""

ALWAYS = ("not-found", "validation-failed", "internal", "unavailable")
"""Problems that any route under `/v1` can answer with."""


def operation(
    scope: str | None,
    *,
    body: type[BaseModel] | None = None,
    required: bool = True,
    example: Any = None,
    parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What FastAPI cannot see of a route: the scope it needs, its body, its query parameters and headers.

    Without a scope everybody is let in; `CREDENTIAL` lets in whoever has a valid credential.
    """
    found: dict[str, Any] = {SECURITY: [] if scope is None else [{SCHEME: [scope] if scope else []}]}
    if scope:
        found["x-scope"] = str(scope)
    if parameters:
        found["parameters"] = [dict(parameter) for parameter in parameters]
    if body is not None:
        _BODIES[body.__name__] = body
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=body.__name__)}}
        if example is not None:
            content["example"] = example
        found["requestBody"] = {"required": required, "content": {"application/json": content}}
    return found


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


def header(name: str, description: str) -> dict[str, Any]:
    """A request header."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def answers(
    model: type[BaseModel], *codes: str, status: int = 200, also: int | None = None
) -> dict[int | str, dict[str, Any]]:
    """The answers of a route: `model` with `status` (and `also`), and the problems `codes` and `ALWAYS`."""
    found: dict[int | str, dict[str, Any]] = {status: {"model": model, "description": "Done"}}
    if status == 202:
        found[202]["description"] = "Kept: committed in PostgreSQL"
    if also is not None:
        found[also] = {"model": model, "description": "The job, as it is now"}
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *ALWAYS):
        by_status.setdefault(CODES[code].status, []).append(code)
    for number, names in by_status.items():
        found[number] = {
            "description": "; ".join(f"`{name}`: {CODES[name].title}" for name in names),
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
        }
    return found


def build(app: FastAPI) -> dict[str, Any]:
    """The whole description; built once."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(
        title="Errander",
        version=server_version(),
        description="Durable job scheduling and execution. Times are RFC 3339 in UTC, durations seconds.",
        routes=app.routes,
    )
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    if _BODIES:
        _, bodies = models_json_schema([(model, "validation") for model in _BODIES.values()], ref_template=_REF)
        components.update(bodies["$defs"])
    components["Problem"] = _problem_schema()
    schema["components"]["securitySchemes"] = {
        SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT."}
    }
    app.openapi_schema = schema
    return schema


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    error = {"type": "object", "properties": {"pointer": text, "detail": text, "code": text}}
    return {
        "type": "object",
        "description": "RFC 9457. Some codes bring further members.",
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text,
            "code": {"type": "string", "enum": sorted(CODES)},
            "errors": {"type": "array", "items": error},
        },
        "example": {
            "type": "/problems/validation-failed",
            "title": CODES["validation-failed"].title,
            "status": 422,
            "detail": '/payload/seconds: "soon" is not of type "number"',
            "instance": "urn:request:4f0c",
            "code": "validation-failed",
            "errors": [{"pointer": "/payload/seconds", "detail": '"soon" is not of type "number"', "code": "type"}],
        },
    }
