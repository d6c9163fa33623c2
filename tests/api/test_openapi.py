"""The description of the API: whole, true, and enough to make a client from."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from errander import BackoffInvalid, parse_backoff
from service.api.queues import queue_of
from service.http.problems import CODES, Problem
from service.openapi.document import build
from service.openapi.file import text_of, undeployed
from service.openapi.parts import PATH_PARAMETERS
from tests.architecture.tree import ROOT

KEPT = ROOT / "docs/openapi.json"
REF = "#/components/"
NO_CONTENT = {"204", "304"}


@pytest.fixture(scope="module")
def application() -> FastAPI:
    return undeployed()


@pytest.fixture(scope="module")
def described(application: FastAPI) -> dict[str, Any]:
    return build(application)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def followed(described: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part, or what it refers to."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: dict[str, Any] = described["components"][kind][name]
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def checker(described: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": described["components"]}, validate_formats=True)


def test_what_is_kept_in_the_repository_is_what_is_served(application: FastAPI) -> None:
    assert KEPT.read_text() == text_of(application), (
        "the API has changed: run `make openapi`, and look at the difference"
    )


async def test_what_is_served_is_the_description(api: httpx.AsyncClient, described: dict[str, Any]) -> None:
    answer = await api.get("/openapi.json")
    assert answer.json() == described
    assert answer.json()["openapi"].startswith("3.1.")


def test_every_route_is_described_and_named_once(application: FastAPI, described: dict[str, Any]) -> None:
    served = {found.path for found in iter_route_contexts(application.routes) if str(found.path).startswith("/v1/")}
    assert len(served) == len([path for path in described["paths"] if path.startswith("/v1/")])
    ids = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if not re.fullmatch(r"[a-z][a-z_]*", name)] == []
    for path, method, operation in operations(described):
        assert operation["summary"], path
        assert operation["description"], path
        assert len(operation["tags"]) == 1, path
        if method in ("post", "patch"):
            assert "requestBody" in operation, path


def test_every_reference_leads_somewhere_and_nothing_is_left_over(described: dict[str, Any]) -> None:
    found = set(references(described))
    there = {
        f"{REF}{kind}/{name}"
        for kind, parts in described["components"].items()
        for name in parts
        if kind != "securitySchemes"
    }
    assert found - there == set()
    assert there - found == set()
    assert f"{REF}schemas/HTTPValidationError" not in there
    problem = described["components"]["schemas"]["Problem"]
    assert set(problem["properties"]["code"]["examples"]) == set(CODES)


def test_every_answer_says_what_it_holds(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        where = f"{method} {path}"
        assert any(status.startswith("2") for status in operation["responses"]), where
        for status, response in operation["responses"].items():
            answer = followed(described, response)
            assert answer["description"], f"{where} {status}"
            assert {"X-Request-Id", "Errander-Version"} <= set(answer["headers"]), f"{where} {status}"
            if status in NO_CONTENT:
                assert "content" not in answer, f"{where} {status}"
                continue
            for media, content in answer["content"].items():
                assert content["schema"], f"{where} {status} {media}"
                if int(status) >= 400 and path != "/readyz":
                    assert media == "application/problem+json", f"{where} {status}"
                    assert content["examples"], f"{where} {status}"
                    assert {CODES[name].status for name in content["examples"]} == {int(status)}, f"{where} {status}"


def test_a_client_made_from_the_description_meets_what_later_versions_bring(described: dict[str, Any]) -> None:
    """A new status or problem fails no client: what stands in an answer is open."""
    models = described["components"]["schemas"]
    answered = [models[name]["properties"]["status"] for name in ("JobDocument", "BatchItem", "ExplanationDocument")]
    for schema in (*answered, models["Problem"]["properties"]["code"]):
        checker(described, schema).validate("NEW")
        assert len(schema["examples"]) > 5


def test_what_is_open_to_everybody_is_described_too(described: dict[str, Any]) -> None:
    for path in ("/healthz", "/readyz", "/v1/version"):
        operation = described["paths"][path]["get"]
        assert operation["security"] == []
        assert ("422" in operation["responses"]) == (path == "/v1/version"), path


def test_every_guarded_operation_says_what_happens_without_leave(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        if not operation["security"]:
            continue
        where = f"{method} {path}"
        assert operation["security"] == [
            {"bearer": [operation["x-scope"]]} if "x-scope" in operation else {"bearer": []}
        ]
        assert {"401", "403", "422", "429", "500", "503"} <= set(operation["responses"]), where
        limited = followed(described, operation["responses"]["429"])
        assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(limited["headers"])
        assert "WWW-Authenticate" in followed(described, operation["responses"]["401"])["headers"]
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(operation["responses"]), where
        if "{" in path:
            assert "404" in operation["responses"], where


def test_every_parameter_is_described_as_it_is_checked(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        parameters = operation.get("parameters", [])
        names = [(one["in"], one["name"].lower()) for one in parameters]
        assert len(names) == len(set(names)), path
        in_path = {one["name"] for one in parameters if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
        for one in parameters:
            where = f"{method} {path}: {one['name']}"
            assert one["description"], where
            assert "title" not in one["schema"] or one["in"] != "path", where
            if one["in"] == "path":
                assert one["name"] in PATH_PARAMETERS, f"{where}: say in service.openapi.parts what stands there"
                assert {"pattern", "format"} & set(one["schema"]), where


@pytest.mark.parametrize("name", ["high", "default", "gpu:low", "default:high", "a_b-1:default"])
def test_names_of_queues_are_those_of_the_description(name: str) -> None:
    pattern = PATH_PARAMETERS["queue"]["schema"]["pattern"]
    assert re.search(pattern, name)
    queue_of(name)
    for wrong in (f"{name}x", f":{name}:", name.upper(), f"-:{name}"):
        assert not re.search(pattern, wrong)
        with pytest.raises(Problem):
            queue_of(wrong)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"base": 5},
        {"kind": "exponential", "factor": 1, "max": 0},
        {"kind": "linear", "base": 1.5, "max": 10, "jitter": True},
        {"kind": "fixed", "jitter": 0.5},
        {"kind": "fixed", "factor": 2},
        {"kind": "linear", "factor": 2},
        {"kind": "other"},
        {"factor": 0.5},
        {"factor": 1001},
        {"base": -1},
        {"base": 365 * 86_400},
        {"max": 365 * 86_400 + 1},
        {"base": True},
        {"jitter": 1.1},
        {"wait": 1},
    ],
)
def test_a_backoff_is_taken_exactly_where_the_description_takes_it(described: dict[str, Any], value: Any) -> None:
    try:
        parse_backoff(value)
        is_taken = True
    except BackoffInvalid:
        is_taken = False
    assert checker(described, {"$ref": f"{REF}schemas/EditBody"}).is_valid({"backoff": value}) == is_taken


async def test_a_whole_number_is_one_however_it_is_written(api: httpx.AsyncClient, described: dict[str, Any]) -> None:
    """To JSON Schema 5.0 is an integer, and some clients write no other."""
    for number, is_taken in (("5", True), ("5.0", True), ("5e0", True), ("5.5", False), ("1e300", False)):
        body = f'{{"task": "demo.echo", "max_attempts": {number}}}'
        answer = await api.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code == 202) == is_taken, number
        assert checker(described, {"$ref": f"{REF}schemas/SubmitBody"}).is_valid(json.loads(body)) == is_taken
        assert not is_taken or answer.json()["max_attempts"] == 5


def test_every_example_fits_its_schema(described: dict[str, Any]) -> None:
    for _, _, operation in operations(described):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            checker(described, content["schema"]).validate(content["example"])
        for one in operation.get("parameters", ()):
            if "example" in one:
                checker(described, one["schema"]).validate(one["example"])
    for example in described["components"]["examples"].values():
        checker(described, {"$ref": f"{REF}schemas/Problem"}).validate(example["value"])


def made_from(described: dict[str, Any], path: str, operation: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """A request that a client makes that knows nothing but the description, and ids that it was given."""
    for one in operation.get("parameters", ()):
        if one["in"] == "path":
            value = known.get(one["name"]) or one.get("example", "0199a0b0-0000-7000-8000-000000000000")
            path = path.replace(f"{{{one['name']}}}", value)
    made: dict[str, Any] = {"url": path}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        body = content.get("example", {})
        made["json"] = {**body, "task": "demo.echo"} if "task" in body else body
    return made


async def test_a_client_made_from_the_description_works(described: dict[str, Any], api: httpx.AsyncClient) -> None:
    """Every operation is called as it is described, and answers as it is described: status, media type, headers, body."""
    job = (await api.post("/v1/jobs", json={"task": "demo.echo", "payload": {"a": 1}, "delay": 3600})).json()
    known, worked = {"job_id": job["id"], "name": "demo.echo"}, 0
    for path, method, operation in operations(described):
        if "/events" in path:
            continue  # goes on until the client ends it
        answer = await api.request(method, **made_from(described, path, operation, known))
        where = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        assert str(answer.status_code) in operation["responses"], where
        response = followed(described, operation["responses"][str(answer.status_code)])
        (media, content), *_ = response["content"].items()
        assert answer.headers["content-type"] == media, where
        checker(described, content["schema"]).validate(answer.json())
        for name, reference in response["headers"].items():
            header = followed(described, reference)
            if header["required"]:
                checker(described, header["schema"]).validate(answer.headers[name])
        assert answer.status_code < 500, where
        worked += answer.is_success
    assert worked > 20


async def test_what_jobs_come_through_is_described(described: dict[str, Any], api: httpx.AsyncClient) -> None:
    """The document of a job fits its schema in every list, and after everything that was done to it."""
    schema = checker(described, {"$ref": f"{REF}schemas/JobDocument"})
    body = {"task": "demo.sleep", "payload": {"seconds": 1}, "tags": ["a"], "metadata": {"b": [1]}, "expires_in": 60}
    submitted = await api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    schema.validate(submitted.json())
    job_id = submitted.json()["id"]
    schema.validate((await api.patch(f"/v1/jobs/{job_id}", json={"priority": "high"})).json())
    schema.validate((await api.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "why"})).json())
    schema.validate((await api.post(f"/v1/jobs/{job_id}/replay", json={})).json())
    page = (await api.get("/v1/jobs?include=payload,result,errors")).json()
    checker(described, {"$ref": f"{REF}schemas/JobPage"}).validate(page)
    history = (await api.get(f"/v1/jobs/{job_id}/history")).json()
    checker(described, {"$ref": f"{REF}schemas/History"}).validate(history)
    assert len(history["items"]) >= 4
