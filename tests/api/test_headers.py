"""Headers of every answer, pages of other origins, compression, entity tags, HEAD, and routes that will go."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from db.engine import Database
from service.http.guarded_route import GuardedRoute
from service.main import create_app
from service.openapi.document import build
from service.openapi.operations import operation
from service.settings import ApiSettings
from tests.api.conftest import running
from tests.api.problems import pointers, problem

HOME = "https://jobs.example.org"
NOBODY = "0199a0b0-0000-7000-8000-000000000000"
ANY_TAG = 'W/"0123"'


async def submitted(api: httpx.AsyncClient, **body: Any) -> Any:
    answer = await api.post("/v1/jobs", json={"task": "demo.echo", **body})
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/v1/jobs", 200),
        ("GET", "/v1/jobs/x", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/jobs", 405),
        ("POST", "/v1/jobs", 400),
        ("GET", "/broken", 500),
    ],
)
async def test_every_answer_tells_browsers_to_do_nothing_with_it(
    app: FastAPI, api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("broken")

    app.router.add_route("/broken", broken)
    answer = await api.request(method, path)
    assert answer.status_code == status
    expected = {
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers


async def test_over_tls_browsers_are_told_to_stay_there(app: FastAPI, api: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://test") as client:
        assert (await client.get("/healthz")).headers["strict-transport-security"] == "max-age=31536000"


async def test_pages_keep_their_own_policy_and_files_their_own_age(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers.get_list("content-security-policy", split_commas=False) == [
        page.headers["content-security-policy"]
    ]
    assert (await api.get("/docs/swagger-ui.css")).headers["cache-control"] == "public, max-age=86400"
    assert (await api.get("/problems/internal")).headers["cache-control"] == "public, max-age=3600"


async def test_a_job_may_be_kept_by_who_asked_and_is_asked_about_again(api: httpx.AsyncClient) -> None:
    job = await submitted(api)
    answer = await api.get(f"/v1/jobs/{job['id']}")
    assert answer.headers["cache-control"] == "private, no-cache"
    tag = answer.headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'W/"x", "y" , {tag}', "*"):
        same = await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": known})
        assert (same.status_code, same.content) == (304, b""), known
        assert same.headers["etag"] == tag
        assert same.headers["cache-control"] == "private, no-cache"
        assert same.headers["x-request-id"]
        assert "content-type" not in same.headers
    for other in (ANY_TAG, f'{ANY_TAG}, "{tag[3:-2]}"'):
        assert (await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": other})).status_code == 200
    several = [("If-None-Match", ANY_TAG), ("If-None-Match", tag)]
    assert (await api.get(f"/v1/jobs/{job['id']}", headers=several)).status_code == 304
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize("value", ["abc", '"a', '"a" "b"', '*, "a"', "W/a", ""])
async def test_tags_that_are_none_are_refused(api: httpx.AsyncClient, value: str) -> None:
    job = await submitted(api)
    read = await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": value})
    assert pointers(read) == {"if-none-match": "format"}
    assert pointers(await api.post(f"/v1/jobs/{job['id']}/cancel", headers={"If-Match": value})) == {
        "if-match": "format"
    }


@pytest.mark.parametrize(
    ("method", "action", "body", "then"),
    [
        ("PATCH", "", {"priority": "high"}, ("priority", "high")),
        ("POST", "/cancel", {}, ("status", "CANCELLED")),
        ("POST", "/run-now", {}, ("status", "PENDING")),
        ("POST", "/replay", {}, ("status", "PENDING")),
    ],
)
async def test_a_change_is_made_only_to_the_state_that_was_read(
    api: httpx.AsyncClient, method: str, action: str, body: dict[str, Any], then: tuple[str, str]
) -> None:
    job = await submitted(api, delay=3600)
    if action == "/replay":
        await api.post(f"/v1/jobs/{job['id']}/cancel")
    before = await api.get(f"/v1/jobs/{job['id']}")
    address, now = f"/v1/jobs/{job['id']}{action}", before.headers["etag"]
    refused = await api.request(method, address, json=body, headers={"If-Match": f'{ANY_TAG}, "x"'})
    found = problem(refused, "precondition-failed", 412)
    assert (found["job_id"], found["job_status"]) == (job["id"], before.json()["status"])
    assert refused.headers["etag"] == now
    assert (await api.get(f"/v1/jobs/{job['id']}")).headers["etag"] == now
    made = await api.request(method, address, json=body, headers={"If-Match": now})
    assert (made.status_code, made.json()[then[0]]) == (200, then[1])
    assert made.headers["etag"] == (await api.get(f"/v1/jobs/{job['id']}")).headers["etag"]
    again = await api.request(method, address, json=body, headers={"If-Match": now})
    problem(again, "precondition-failed", 412)


async def test_a_condition_on_a_job_that_does_not_exist_is_not_found(api: httpx.AsyncClient) -> None:
    for tags in ("*", ANY_TAG):
        problem(await api.post(f"/v1/jobs/{NOBODY}/cancel", headers={"If-Match": tags}), "not-found", 404)


async def test_a_long_answer_to_a_read_is_compressed_where_the_client_takes_it(api: httpx.AsyncClient) -> None:
    await submitted(api, payload={"text": "long " * 400})
    plain = await api.get("/v1/jobs?include=payload", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    for taken in ("gzip", "deflate, gzip;q=0.5, br", "*", "GZIP ; q=1.0", "*;q=0, gzip", "identity;q=0.5,*;q=0.1"):
        async with api.stream("GET", "/v1/jobs?include=payload", headers={"Accept-Encoding": taken}) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip", taken
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(raw) < len(plain.content)
        assert json.loads(gzip.decompress(raw)) == plain.json()
    for refused in (
        "gzip;q=0",
        "gzip; q=0.000, identity",
        "br",
        "x-gzip2",
        "gzip;q=0, *",
        "*,gzip;q=0",
        "*;q=0",
        "gzip;q=x",
    ):
        answer = await api.get("/v1/jobs?include=payload", headers={"Accept-Encoding": refused})
        assert "content-encoding" not in answer.headers, refused


async def test_a_tag_names_the_compressed_answer_too(api: httpx.AsyncClient) -> None:
    job = await submitted(api, payload={"text": "long " * 400})
    tags = set()
    for taken in ("gzip", "identity"):
        answer = await api.get(f"/v1/jobs/{job['id']}", headers={"Accept-Encoding": taken})
        assert ("content-encoding" in answer.headers) == (taken == "gzip")
        tags.add(answer.headers["etag"])
    assert len(tags) == 1


async def test_whatever_a_read_is_answered_varies_with_what_the_client_takes(api: httpx.AsyncClient) -> None:
    """A cache that keeps one form must know that there is another, also where this one is short, or only not changed."""
    job = await submitted(api, payload={"text": "long " * 400})
    address = f"/v1/jobs/{job['id']}"
    whole = await api.get(address)
    for answer in (
        whole,
        await api.get(address, headers={"If-None-Match": whole.headers["etag"]}),
        await api.head(address),
        await api.get(f"/v1/jobs/{(await submitted(api))['id']}"),
        await api.get("/nowhere"),
    ):
        assert answer.headers.get_list("vary") == ["Accept-Encoding"], answer


async def test_what_is_short_or_no_read_or_a_stream_is_not_compressed(app: FastAPI, api: httpx.AsyncClient) -> None:
    async def stream(_request: Request) -> Response:
        async def events() -> Any:
            for _ in range(100):
                yield b"data: the same again and again\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    app.router.add_route("/stream", stream)
    assert "content-encoding" not in (await api.get("/v1/jobs")).headers
    long = {"task": "demo.echo", "payload": {"text": "long " * 400}}
    assert "content-encoding" not in (await api.post("/v1/jobs", json=long)).headers
    streamed = await api.get("/stream")
    assert len(streamed.content) > 3_000
    assert "content-encoding" not in streamed.headers


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/version", "/docs", "/v1/jobs/x", "/nowhere", "/endless"])
async def test_head_is_get_without_the_body(app: FastAPI, api: httpx.AsyncClient, path: str) -> None:
    async def endless(_request: Request) -> Response:
        async def forever() -> Any:
            while True:
                yield b"x"

        return StreamingResponse(forever(), headers={"content-length": "5"})

    async def short(_request: Request) -> Response:
        return Response(b"xxxxx")

    app.router.add_route("/endless", short)
    varying = {"x-request-id", "date"}
    read = await api.get(path)
    app.router.routes[-1].endpoint = endless  # type: ignore[attr-defined]
    answer = await api.head(path)
    assert (answer.status_code, answer.content) == (read.status_code, b"")
    assert {name for name in answer.headers if name not in varying} >= {
        name for name in read.headers if name not in varying
    } - {"content-type"}
    assert answer.headers["content-length"] == read.headers["content-length"]


@pytest.fixture
def open_app(settings: ApiSettings) -> FastAPI:
    return create_app(settings.model_copy(update={"cors_origins": (HOME,)}))


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, idempotency-key",
}


async def test_no_other_origin_may_read_anything_by_default(api: httpx.AsyncClient) -> None:
    read = await api.get("/v1/jobs", headers={"Origin": HOME})
    assert not [name for name in read.headers if name.startswith("access-control-")]
    problem(await api.options("/v1/jobs", headers={"Origin": HOME, **PREFLIGHT}), "method-not-allowed", 405)


async def test_a_named_origin_asks_and_is_answered(open_app: FastAPI, database: Database) -> None:
    async with running(open_app) as api:
        asked = await api.options("/v1/jobs", headers={"Origin": HOME, **PREFLIGHT})
        assert (asked.status_code, asked.content) == (204, b"")
        assert asked.headers["access-control-allow-origin"] == HOME
        assert "access-control-allow-credentials" not in asked.headers
        assert asked.headers["access-control-max-age"] == "7200"
        assert {"authorization", "idempotency-key", "if-match"} <= {
            name.strip().lower() for name in asked.headers["access-control-allow-headers"].split(",")
        }
        assert "Origin" in asked.headers["vary"]
        assert asked.headers["x-request-id"]
        sent = await api.post(
            "/v1/jobs",
            json={"task": "demo.echo"},
            headers={"Origin": HOME, "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer x"},
        )
        assert sent.status_code == 202
        assert sent.headers["access-control-allow-origin"] == HOME
        exposed = {name.strip() for name in sent.headers["access-control-expose-headers"].split(",")}
        assert {
            *("Location", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"),
            *("Idempotency-Replayed", "Errander-Version", "Deprecation", "Sunset"),
        } <= exposed


async def test_scripts_of_a_named_origin_can_read_why_they_failed(open_app: FastAPI, database: Database) -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("broken")

    open_app.router.add_route("/broken", broken)
    async with running(open_app) as api:
        for path in ("/nowhere", "/broken"):
            answer = await api.get(path, headers={"Origin": HOME})
            assert answer.headers["access-control-allow-origin"] == HOME, path


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{HOME}.evil.example", "http://jobs.example.org"])
async def test_any_other_origin_is_refused(open_app: FastAPI, database: Database, origin: str) -> None:
    async with running(open_app) as api:
        asked = await api.options("/v1/jobs", headers={"Origin": origin, **PREFLIGHT})
        problem(asked, "forbidden", 403)
        assert "access-control-allow-origin" not in asked.headers
        read = await api.get("/v1/jobs", headers={"Origin": origin})
        assert "access-control-allow-origin" not in read.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://test:3000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "https://[::1"},
        {"Origin": "http://[test]"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://["},
    ],
)
async def test_a_form_on_another_page_changes_nothing(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A browser sends it without asking, and without credentials none would be missing."""
    problem(await api.post("/v1/queues/high/pause", headers=headers), "forbidden", 403)
    assert not any(queue["paused"] for queue in (await api.get("/v1/queues", headers=headers)).json()["items"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://test"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://test"},
    ],
)
async def test_the_pages_of_this_server_and_programs_may(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await api.post("/v1/queues/high/pause", headers=headers)).status_code == 200


@pytest.mark.parametrize("text", ["*", "jobs.example.org", f"{HOME}/", "https://*.example.org", "HTTPS://A", "null"])
def test_what_is_no_origin_is_refused_at_start(settings: ApiSettings, text: str) -> None:
    given = settings.model_dump() | {"cors_origins": f"{HOME},{text}"}
    with pytest.raises(ValidationError, match="is no origin"):
        ApiSettings.model_validate(given)


def test_origins_are_given_comma_separated(settings: ApiSettings) -> None:
    text = f"{HOME}, http://localhost:5173 ,http://[::1]:3000"
    found = ApiSettings.model_validate(settings.model_dump() | {"cors_origins": text})
    assert found.cors_origins == (HOME, "http://localhost:5173", "http://[::1]:3000")


SINCE, UNTIL = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 7, 1, 12, tzinfo=UTC)


async def test_a_route_that_will_go_says_so_in_every_answer(app: FastAPI, api: httpx.AsyncClient) -> None:
    router = APIRouter(route_class=GuardedRoute)

    @router.get("/v1/old", openapi_extra=operation("jobs:read", deprecated=SINCE, sunset=UNTIL))
    async def old(request: Request) -> Response:
        return Response(status_code=404 if request.query_params else 204)

    @router.get("/v1/older", openapi_extra=operation("jobs:read", deprecated=SINCE))
    async def older() -> Response:
        return Response(status_code=204)

    app.include_router(router)
    for path in ("/v1/old", "/v1/old?x"):
        answer = await api.get(path)
        assert answer.headers["deprecation"] == "@1798761600"
        assert answer.headers["sunset"] == "Thu, 01 Jul 2027 12:00:00 GMT"
    assert "sunset" not in (await api.get("/v1/older")).headers
    assert "deprecation" not in (await api.get("/v1/jobs")).headers
    app.openapi_schema = None
    paths = build(app)["paths"]
    assert paths["/v1/old"]["get"]["deprecated"] is True
    assert {"Deprecation", "Sunset"} <= set(paths["/v1/old"]["get"]["responses"]["200"]["headers"])
    assert "deprecated" not in paths["/v1/jobs"]["get"]


def test_an_end_needs_a_beginning_before_it() -> None:
    with pytest.raises(ValueError, match="deprecated before"):
        operation("jobs:read", sunset=UNTIL)
    with pytest.raises(ValueError, match="not earlier"):
        operation("jobs:read", deprecated=UNTIL, sunset=UNTIL - timedelta(seconds=1))
