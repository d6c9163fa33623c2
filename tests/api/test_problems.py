"""Every error of the table, and what all answers have in common."""

import itertools
import logging
import re
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from db.engine import Database
from db.errors import Locked
from service.http import problems
from service.http.guarded_route import GuardedRoute
from service.main import create_app
from service.openapi.operations import operation
from service.version import server_version
from tests.api.conftest import running, settings_for
from tests.api.problems import pointers, problem
from tests.architecture.tree import ROOT
from tests.fixtures.waiting import eventually

JSON = {"content-type": "application/json"}


async def post(api: httpx.AsyncClient, content: bytes | str, **headers: str) -> httpx.Response:
    return await api.post("/v1/jobs", content=content, headers=JSON | headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"task": "demo.echo",}',
        b'{"task": "demo.echo", "payload": {"n": NaN}}',
        b'{"task": "demo.echo", "payload": {"n": -Infinity}}',
        b'{"task": "demo.echo", "task": "demo.sleep"}',
        b'{"task": "demo.echo", "payload": {"a": {"b": 1, "b": 2}}}',
        b'{"task": "demo.echo", "payload": {"a": "\xff"}}',
        b'{"task": "demo.echo", "payload": {"a": "\xed\xa0\x80"}}',
        b'{"task": "demo.echo", "payload": {"a": "tab\tin it"}}',
        '{"task": "demo.echo"}'.encode("utf-16"),
    ],
)
async def test_what_is_no_json_is_malformed(api: httpx.AsyncClient, body: bytes) -> None:
    problem(await post(api, body), "malformed-json", 400)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true"])
async def test_a_body_that_is_no_object_is_not_valid(api: httpx.AsyncClient, body: bytes) -> None:
    problem(await post(api, body), "validation-failed", 422)


@pytest.mark.parametrize("number", ["1e400", "-1e999999999", "9" * 5000])
async def test_a_number_that_cannot_be_kept_is_not_valid(api: httpx.AsyncClient, number: str) -> None:
    found = problem(await post(api, f'{{"task": "demo.echo", "payload": {{"n": {number}}}}}'), "validation-failed", 422)
    assert found["errors"][0]["code"] == "number-out-of-range"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_must_be_declared_as_json(api: httpx.AsyncClient, kind: str) -> None:
    answer = await api.post("/v1/jobs", content=b'{"task": "demo.echo"}', headers={"content-type": kind})
    problem(answer, "unsupported-media-type", 415)


async def test_a_compressed_body_is_not_read(api: httpx.AsyncClient) -> None:
    problem(await post(api, b"{}", **{"content-encoding": "gzip"}), "unsupported-media-type", 415)


async def test_parameters_and_suffixes_of_the_media_type_are_understood(api: httpx.AsyncClient) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.acme+json"):
        answer = await api.post("/v1/jobs", content=b'{"task": "demo.echo"}', headers={"content-type": kind})
        assert answer.status_code == 202


async def test_a_body_over_a_mebibyte_is_too_large(api: httpx.AsyncClient) -> None:
    def body(size: int) -> bytes:
        start, end = b'{"task": "demo.echo", "payload": {"x": "', b'"}}'
        return start + b"x" * (size - len(start) - len(end)) + end

    assert (await post(api, body(1024 * 1024))).status_code == 202
    problem(await post(api, body(1024 * 1024 + 1)), "payload-too-large", 413)

    async def stream() -> Any:  # without a declared length
        for _ in range(20):
            yield b"x" * 100_000

    problem(await api.post("/v1/jobs", content=stream(), headers=JSON), "payload-too-large", 413)


async def test_a_body_nested_too_deep_is_too_large(api: httpx.AsyncClient) -> None:
    def nested(levels: int) -> str:
        # the body and the payload are the first two levels
        return '{"task": "demo.echo", "payload": {"x": ' + "[" * (levels - 2) + "]" * (levels - 2) + "}}"

    assert (await post(api, nested(64))).status_code == 202
    for levels in (65, 5_000, 200_000):
        problem(await post(api, nested(levels)), "payload-too-large", 413)


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/job", "/v1/jobs/", "/v2/jobs", "/docs/../etc", "/docs/LICENSE", "/problems/x"]
)
async def test_an_unknown_address_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    problem(await api.get(path), "not-found", 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/v1/jobs/0199a0b0-0000-7000-8000-000000000000", "GET, HEAD, PATCH"),
        ("GET", "/v1/queues/high/pause", "POST"),
        ("GET", "/v1/jobs/batch", "POST"),
        ("PATCH", "/v1/jobs/cancel", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    problem(answer, "method-not-allowed", 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/v1/version?x=1",
        "/v1/queues?x=1",
        "/v1/stats?x=1",
        "/v1/tasks?x=1",
        "/v1/tasks/demo.echo?x=1",
        "/v1/workers?x=1",
    ],
)
async def test_an_unknown_parameter_is_refused_and_names_the_version(api: httpx.AsyncClient, path: str) -> None:
    found = problem(await api.get(path), "validation-failed", 422)
    assert found["errors"][0]["pointer"] == "x"
    assert server_version() in found["errors"][0]["detail"]


async def test_a_failure_of_the_server_is_found_in_its_log_and_tells_nothing(
    app: FastAPI, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("a secret")

    app.router.add_route("/broken", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.get("/broken", headers={"X-Request-Id": "find-me"})
    found = problem(answer, "internal", 500)
    assert found["instance"] == "urn:request:find-me"
    assert "secret" not in answer.text
    log = capsys.readouterr().out + caplog.text
    assert "find-me" in log
    assert "a secret" in log


async def test_a_parameter_that_the_framework_checks_is_refused_like_any_other(
    app: FastAPI, api: httpx.AsyncClient
) -> None:
    router = APIRouter(route_class=GuardedRoute)

    @router.get("/v1/typed/{n}", openapi_extra=operation("jobs:read"))
    async def typed(n: int) -> Response:
        return Response(str(n))

    app.include_router(router)
    assert (await api.get("/v1/typed/7")).text == "7"
    assert pointers(await api.get("/v1/typed/x")) == {"n": "int-parsing"}


async def test_every_answer_has_a_request_id_and_the_version(api: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/v1/jobs", "/nowhere"):
        answer = await api.get(path, headers={"X-Request-Id": "mine-1"})
        assert (answer.headers["x-request-id"], answer.headers["errander-version"]) == ("mine-1", server_version())
    for bad in ("with space", "x" * 65, "semi;colon"):
        made = (await api.get("/healthz", headers={"X-Request-Id": bad})).headers["x-request-id"]
        assert made != bad
        assert len(made) == 32


async def test_without_postgresql_the_api_is_up_and_says_so(redis_url: str) -> None:
    nobody = "postgresql://postgres@127.0.0.1:1/nothing"
    async with running(create_app(settings_for(nobody, redis_url))) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json() == {
            "status": "unavailable",
            "checks": {"postgres": "unavailable", "redis": "ok", "schema": "unknown"},
        }
        for answer in (
            await client.post("/v1/jobs", json={"task": "demo.echo"}),
            await client.get("/v1/jobs"),
            await client.get("/v1/jobs?task=x"),
            await client.get("/v1/stats"),
        ):
            problem(answer, "unavailable", 503)
            assert int(answer.headers["retry-after"]) >= 1


async def test_a_schema_that_is_behind_is_waited_for(empty_database_url: str, redis_url: str) -> None:
    async with running(create_app(settings_for(empty_database_url, redis_url))) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["schema"]) == (503, "behind")
        found = problem(await client.get("/v1/jobs"), "unavailable", 503)
        assert "errander migrate" in found["detail"]
        problem(await client.post("/v1/jobs", json={"task": "demo.echo"}), "unavailable", 503)


async def test_a_schema_that_is_behind_is_migrated_where_asked(empty_database_url: str, redis_url: str) -> None:
    settings = settings_for(empty_database_url, redis_url, migrate="auto", builtin_tasks=("demo",))
    async with running(create_app(settings)) as client:

        async def ready() -> bool:
            return bool((await client.get("/readyz")).json()["status"] == "ok")

        async def accepted() -> bool:
            return (await client.post("/v1/jobs", json={"task": "demo.echo"})).status_code == 202

        await eventually(ready)
        await eventually(accepted)


async def test_rows_that_stay_locked_are_unavailable_for_the_moment(
    api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (await api.post("/v1/jobs", json={"task": "demo.echo"})).json()
    tries = 0

    async def locked(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise Locked("held by another")

    monkeypatch.setattr("db.jobs.cancel", locked)
    answer = await api.post(f"/v1/jobs/{job['id']}/cancel")
    problem(answer, "unavailable", 503)
    assert (tries, answer.headers["retry-after"]) == (3, "1")


async def test_every_code_has_a_page(api: httpx.AsyncClient) -> None:
    for code in problems.CODES:
        answer = await api.get(f"/problems/{code}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert code in answer.text


@pytest.mark.parametrize("code", ["job-already-final", "job-not-waiting"])
def test_a_page_that_sends_to_the_jobs_status_names_the_member_that_has_it(code: str) -> None:
    assert re.findall(r"`(\w*status)`", problems.CODES[code].page) == ["job_status"]


def test_every_code_stands_in_the_documentation_with_its_status() -> None:
    table = (ROOT / "docs/api.md").read_text().split("\n## Errors\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    told = {
        (code, int(status.strip()))
        for codes, statuses in rows
        for code, status in itertools.zip_longest(
            re.findall(r"`([a-z-]+)`", codes), statuses.split(","), fillvalue=statuses.split(",")[-1]
        )
    }
    assert told == {(name, code.status) for name, code in problems.CODES.items()}
