"""Anything at all in any place of a request: answered by a problem of the client's, or taken as it is; and what is refused
leaves nothing behind.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.engine import Database
from service.filters import NAMES
from service.http.cursors import cursor_text, list_hash
from service.openapi.document import build
from tests.fixtures.jobs import JobBook

JSON = {"content-type": "application/json"}
NOBODY = "0199a0b0-0000-7000-8000-000000000000"

# Derandomized: the same inputs each time, so that a failure is never somebody else's.
BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "\0", "\ud800", "é\u0301", "💥" * 300, "x" * 3000, "'; DROP TABLE jobs; --", "%00", "../..", "{}"]
    ),
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1e308, -1e308, 5e-324, 2**31, 2**63, -(2**63) - 1, 10**400, True, False]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
times = st.sampled_from(
    ["2026-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "now", ""]
)


def objects_of(model: str) -> Callable[[dict[str, Any]], st.SearchStrategy[dict[str, Any]]]:
    """Bodies with the fields of a model, or nearly: each with what it takes, or with anything."""

    def made(schemas: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        names = sorted(schemas[model]["properties"])
        known = st.dictionaries(st.sampled_from(names), st.one_of(values, times), max_size=len(names))
        return st.builds(lambda some, extra: {**some, **extra}, known, st.dictionaries(texts, values, max_size=1))

    return made


def text_of(value: Any) -> bytes:
    """As JSON, or as near to it as Python comes: NaN, Infinity and halves of surrogates go out as they are."""
    return json.dumps(value).encode()


async def answered(request: Any) -> httpx.Response:
    """An answer that blames the client, or none."""
    answer: httpx.Response = await request
    assert answer.status_code < 500, (answer.request.url, answer.request.content[:2000], answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()
        assert (found["status"], bool(found["code"])) == (answer.status_code, True)
        assert len(answer.content) < 100_000
    return answer


async def rows(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))


@pytest.fixture
def schemas(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = build(app)["components"]["schemas"]
    return found


@pytest.fixture
async def unmoved(api: httpx.AsyncClient, book: JobBook) -> AsyncIterator[JobBook]:
    """Nothing is there before, and nothing that was refused is there after."""
    assert await rows(book) == 0
    yield book
    assert await book.execute("SELECT count(*) FROM errander.jobs") == await book.execute(
        "SELECT count(*) FROM errander.ready"
    )


@pytest.mark.parametrize("place", ["submit", "payload", "field", "batch", "item"])
async def test_any_submit_is_taken_whole_or_refused_without_a_row(
    api: httpx.AsyncClient, unmoved: JobBook, schemas: dict[str, Any], place: str
) -> None:
    fields = objects_of("SubmitBody")(schemas)
    right = {"task": "demo.echo"}
    bodies: dict[str, st.SearchStrategy[Any]] = {
        "submit": fields,
        "payload": values.map(lambda value: {**right, "payload": value}),
        "field": fields.map(lambda some: {**some, **right}),
        "batch": st.one_of(values, st.lists(fields, max_size=3)).map(lambda jobs: {"jobs": jobs}),
        "item": fields.map(lambda some: {"jobs": [right, {**some, **right}]}),
    }
    path = "/v1/jobs/batch" if place in ("batch", "item") else "/v1/jobs"
    made = 0

    @BOUNDED
    @given(bodies[place])
    async def sent(body: Any) -> None:
        nonlocal made
        answer = await answered(api.post(path, content=text_of(body), headers=JSON))
        if answer.status_code == 202:
            made += len(answer.json().get("jobs", [0]))

    await run(sent)
    assert await rows(unmoved) == made


async def run(test: Any) -> None:
    """Hypothesis drives synchronous functions; what it draws is collected first, and sent here."""
    drawn: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    inner = test.hypothesis.inner_test

    def collect(*args: Any, **kwargs: Any) -> None:
        drawn.append((args, kwargs))

    test.hypothesis.inner_test = collect
    test()
    assert len(drawn) > 20
    for args, kwargs in drawn:
        await inner(*args, **kwargs)


@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        ("PATCH", "/v1/jobs/{id}", "EditBody"),
        ("POST", "/v1/jobs/{id}/cancel", "ReasonBody"),
        ("POST", "/v1/jobs/{id}/replay", "ReplayBody"),
        ("POST", "/v1/jobs/{id}/run-now", "ReasonBody"),
        ("POST", "/v1/queues/high/pause", "ReasonBody"),
        ("POST", "/v1/tasks/demo.echo/resume", "ReasonBody"),
    ],
)
async def test_any_change_is_made_or_refused(
    api: httpx.AsyncClient, schemas: dict[str, Any], method: str, path: str, model: str
) -> None:
    job = (await api.post("/v1/jobs", json={"task": "demo.echo", "delay": 3600})).json()
    address = path.format(id=job["id"])

    @BOUNDED
    @given(st.one_of(objects_of(model)(schemas), values))
    async def sent(body: Any) -> None:
        before = (await api.get(f"/v1/jobs/{job['id']}")).json()
        answer = await answered(api.request(method, address, content=text_of(body), headers=JSON))
        if answer.status_code >= 400:
            assert (await api.get(f"/v1/jobs/{job['id']}")).json() == before

    await run(sent)


async def test_any_filter_fits_jobs_or_is_refused(api: httpx.AsyncClient, book: JobBook) -> None:
    await api.post("/v1/jobs", json={"task": "demo.echo", "payload": {"a": [1]}, "metadata": {"b": "1"}})
    names = st.one_of(
        st.sampled_from(NAMES), st.sampled_from(["metadata.b", "payload.a.0", "payload.", "metadata."]), texts
    )

    @BOUNDED
    @given(st.one_of(values, st.dictionaries(names, st.one_of(values, times), max_size=4)))
    async def sent(wanted: Any) -> None:
        content = text_of({"filter": wanted, "dry_run": True})
        for path in ("/v1/jobs/cancel", "/v1/dead-letter/replay"):
            await answered(api.post(path, content=content, headers=JSON))

    await run(sent)


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": []},
        {"id": []},
        {"tag": []},
        {"tag": 7},
        {"task": None},
        {"worker": {}},
        {"pool": ["a"]},
        {"scheduled": 1},
    ],
)
async def test_a_filter_that_names_nothing_does_not_mean_everything(api: httpx.AsyncClient, wanted: Any) -> None:
    job = (await api.post("/v1/jobs", json={"task": "demo.echo", "delay": 3600})).json()
    answer = await answered(api.post("/v1/jobs/cancel", json={"filter": wanted}))
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/filter/{name}" for name in wanted]
    assert (await api.get(f"/v1/jobs/{job['id']}")).json() == job


async def test_the_ends_of_the_calendar_are_times(api: httpx.AsyncClient) -> None:
    """PostgreSQL knows an infinity at each end, which is none to a client: what is taken is read back as it is."""
    names = ("created_after", "created_before", "finished_after", "finished_before")
    for at in (
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59Z",
    ):
        for body in ({"run_at": at}, {"expires_at": at}):
            made = await answered(api.post("/v1/jobs", json={"task": "demo.echo", **body}))
            assert made.status_code == 202, (body, made.text)
            assert (await answered(api.get(made.headers["location"]))).json() == made.json()
        waiting = (await api.post("/v1/jobs", json={"task": "demo.echo", "delay": 60})).json()
        edit = {"run_at": at, "expires_at": None}
        assert (await answered(api.patch(f"/v1/jobs/{waiting['id']}", json=edit))).status_code == 200
        for name in names:
            await answered(api.get("/v1/jobs", params={name: at}))
            await answered(api.get("/v1/dead-letter", params={name: at}))
            await answered(api.post("/v1/jobs/replay", json={"filter": {name: at}}))
            await answered(api.get("/v1/jobs", params={name: at, "payload.a": "1"}))


async def test_a_cursor_that_was_made_up_is_refused(api: httpx.AsyncClient) -> None:
    """Cursors are opaque, not secret: whoever reads one can make others."""
    for path, route in (("/v1/jobs", "jobs"), ("/v1/dead-letter", "dead-letter"), ("/v1/keys", "keys")):
        digest = list_hash(route, {})
        for place in ([], ["x", NOBODY], [NOBODY, -1], [NOBODY, 2**80], ["2026-01-01T00:00:00", NOBODY], [None, None]):
            answer = await answered(api.get(path, params={"cursor": cursor_text(digest, *place)}))
            assert answer.status_code == 422 or (route == "keys" and answer.status_code == 200), (path, place)


async def test_any_query_is_answered_or_refused(api: httpx.AsyncClient) -> None:
    names = st.one_of(st.sampled_from([*NAMES, "limit", "cursor", "include", "wait"]), texts)
    storable = texts.map(lambda text: text.encode("utf-8", "replace").decode())

    @BOUNDED
    @given(st.lists(st.tuples(names.map(lambda text: text.encode("utf-8", "replace").decode()), storable), max_size=5))
    async def sent(pairs: list[tuple[str, str]]) -> None:
        for path in ("/v1/jobs", "/v1/dead-letter", f"/v1/jobs/{NOBODY}"):
            await answered(api.get(path, params=urlencode(pairs)))

    await run(sent)


async def test_any_header_is_taken_or_refused(api: httpx.AsyncClient, book: JobBook) -> None:
    text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
    raw = st.one_of(text, text.map("http://[{}".format), text.map("gzip;q={}, *".format))
    names = st.sampled_from(
        [
            *("idempotency-key", "if-none-match", "if-match", "authorization", "x-request-id", "accept-encoding"),
            *(
                "content-type",
                "content-encoding",
                "content-length",
                "origin",
                "sec-fetch-site",
                "last-event-id",
                "cookie",
            ),
        ]
    )

    @BOUNDED
    @given(st.lists(st.tuples(names, raw), max_size=4))
    async def sent(pairs: list[tuple[str, str]]) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
        await answered(api.post("/v1/jobs", content=b'{"task": "demo.echo"}', headers=[(b"x-first", b"1"), *headers]))
        await answered(api.get(f"/v1/jobs/{NOBODY}", headers=headers))

    await run(sent)


async def test_any_bytes_are_a_body_or_refused(api: httpx.AsyncClient, unmoved: JobBook) -> None:
    wrapped = st.binary(max_size=40).map(lambda raw: b'{"task": "demo.echo", "payload": {"x": "' + raw + b'"}}')
    made = 0

    @BOUNDED
    @given(st.one_of(st.binary(max_size=60), wrapped))
    async def sent(raw: bytes) -> None:
        nonlocal made
        answer = await answered(api.post("/v1/jobs", content=raw, headers=JSON))
        made += answer.status_code == 202

    await run(sent)
    assert await rows(unmoved) == made


NESTED = b'{"task": "demo.echo", "payload": {"x": %b}}'


TRICKS = [
    (NESTED % (b"[" * 62 + b"]" * 62), 202),
    (NESTED % (b"[" * 63 + b"]" * 63), 413),
    (NESTED % (b'{"a":' * 62 + b"1" + b"}" * 62), 202),
    (NESTED % (b'{"a":' * 63 + b"1" + b"}" * 63), 413),
    (NESTED % (b"[" * 100_000), 413),
    (NESTED % b'"[[[[\\"[[[["', 202),
    (NESTED % b"NaN", 400),
    (NESTED % b"1e999", 422),
    (NESTED % b'"\xc3\x28"', 400),
    (NESTED % b'"\\ud800"', 422),
    (NESTED % b'"\\u0000"', 422),
    (b"\xef\xbb\xbf" + NESTED % b"1", 400),
    (b'{"task": "demo.echo"}{"task": "demo.echo"}', 400),
    (b'{"jobs": [{"task": "demo.echo"}], "jobs": []}', 400),
]


async def test_known_tricks(api: httpx.AsyncClient, book: JobBook) -> None:
    made = 0
    for content, status in TRICKS:
        answer = await answered(api.post("/v1/jobs", content=content, headers=JSON))
        assert answer.status_code == status, content[:200]
        made += status == 202
        assert await rows(book) == made, content[:200]


async def test_a_batch_over_its_limit_leaves_no_row(api: httpx.AsyncClient, book: JobBook) -> None:
    mib = 1024 * 1024
    filling = [{"task": "demo.echo", "payload": {"x": "x" * (mib - 100)}} for _ in range(32)]
    content = text_of({"jobs": filling})
    content += b" " * (32 * mib - len(content))
    assert (await answered(api.post("/v1/jobs/batch", content=content + b" ", headers=JSON))).status_code == 413
    assert await rows(book) == 0
    assert (await answered(api.post("/v1/jobs/batch", content=content, headers=JSON))).status_code == 202
    assert await rows(book) == 32


DENSE = {"objects": b'{"a":1}', "empty": b"{}", "arrays": b"[]", "texts": b'""', "numbers": b"1"}


@pytest.mark.parametrize("what", DENSE)
async def test_a_body_that_would_fill_the_memory_is_refused_unread(api: httpx.AsyncClient, what: str) -> None:
    """Each of these takes a second or more to decode, and most of them a gigabyte."""
    one = DENSE[what] + b","
    content = b'{"jobs":[' + one * (30 * 1024 * 1024 // len(one)) + DENSE[what] + b"]}"
    answer = await answered(api.post("/v1/jobs/batch", content=content, headers=JSON))
    assert answer.json()["code"] == "payload-too-large"
    assert "several parts" in answer.json()["detail"]


LARGE: dict[str, tuple[Any, int]] = {
    "objects": ({"task": "demo.echo", "payload": {"x": list(range(20))}}, 40_000),
    "integers": (1, 4_000_000),
}
"""A job, and how many of it."""


@pytest.mark.parametrize("what", LARGE)
async def test_others_are_answered_while_a_large_body_is_decoded(api: httpx.AsyncClient, what: str) -> None:
    job, number = LARGE[what]
    content = b'{"jobs": [%b]}' % b",".join([text_of(job)] * number)
    sent = asyncio.create_task(answered(api.post("/v1/jobs/batch", content=content, headers=JSON)))
    answers = 0
    while not sent.done():
        await api.get("/healthz")
        await asyncio.sleep(0.001)
        answers += 1
    assert (await sent).status_code == 422
    assert answers > 10


async def test_a_refused_item_takes_the_whole_batch_with_it(
    api: httpx.AsyncClient, database: Database, book: JobBook
) -> None:
    jobs = [{"task": "demo.echo"}, {"task": "demo.echo", "payload": {"x": "\0"}}]
    assert (await answered(api.post("/v1/jobs/batch", json={"jobs": jobs}))).status_code == 422
    assert await rows(book) == 0
