"""The description of the API: built from the models that check requests, so that it cannot say something else.

`build` takes what the routes say (`service.openapi.operations`) and adds what follows from it: the models that are named,
the problems that any such route can answer with, and the headers of every answer.

The document has the version of the API, not that of the server, so the one that is kept in the repository (`make openapi`)
changes only with what it describes.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.http.deprecation import SINCE, UNTIL
from service.http.guarded_route import SCHEME, SECURITY
from service.openapi.operations import ALWAYS, BODIES, ITEMS, PROBLEMS, REF, by_status
from service.openapi.parts import (
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
from service.version import API_VERSION

_WITH_PATH: Final = ("not-found",)
_WITH_BODY: Final = ("malformed-json", "payload-too-large", "unsupported-media-type")
_TOO_LARGE: Final = {"query": "uri-too-long", "header": "headers-too-large"}
_GUARDED: Final = ("unauthenticated", "forbidden", "quota-exceeded")

_ABOUT: Final = (
    "Durable job scheduling and execution. Times are RFC 3339 in UTC, durations seconds. Every 4xx and 5xx is a problem "
    "document (RFC 9457). Beside what each operation lists, any request may be answered with 400 `malformed-request`, 404 "
    "`not-found`, 405 `method-not-allowed`, 408 `request-timeout`, 414 `uri-too-long`, 421 `misdirected-request` or 431 "
    "`headers-too-large`. HEAD is answered wherever GET is."
)


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
    if BODIES:
        _, bodies = models_json_schema([(model, "validation") for model in BODIES.values()], ref_template=REF)
        models.update(bodies["$defs"])
        for (name, member), model in ITEMS.items():
            models[name]["properties"][member]["items"] = {"$ref": REF.format(model=model)}
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
    codes = {code for response in answered.values() for code in response.pop(PROBLEMS, ())}
    codes |= set(_WITH_BODY if "requestBody" in one else ())
    codes |= set(_WITH_PATH if "{" in path else ())
    codes |= {_TOO_LARGE[some["in"]] for some in one.get("parameters", ()) if some["in"] in _TOO_LARGE}
    codes |= set((*_GUARDED, *ALWAYS) if is_guarded else ())
    always = [*EVERYWHERE, *(LIMITED if is_guarded else ())]
    always += [name for name, sign in (("Deprecation", SINCE), ("Sunset", UNTIL)) if sign in one]
    for response in answered.values():
        response["headers"] = response.get("headers", {}) | headers_named(always)
    for status, names in by_status(sorted(codes)).items():
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
