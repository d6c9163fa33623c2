"""What arrives over a socket: requests that are no HTTP, floods, lies about lengths. The server as `errander api` runs it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from db.engine import Database
from service.http.heads import MAX_HEAD, MAX_HEADERS, MAX_TARGET
from tests.api.wire import is_problem, listening, read_answer, request, sent
from tests.fixtures.jobs import JobBook

MIB = 1024 * 1024
JOB = b'{"task": "demo.echo"}'


@pytest.fixture
async def port(app: FastAPI, database: Database) -> AsyncIterator[int]:
    """Where the running application listens."""
    async with listening(app) as number:
        yield number


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
    b"hello there\r\n\r\n",
    b"GET /v1/jobs HTTP/9.9\r\nHost: test\r\n\r\n",
    b"BREW /v1/jobs HTTP/1.1\r\nHost: test\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: test\r\nbroken header\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: test\r\nX : space\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: test\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1e3\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
]


async def test_what_is_no_http_is_answered_by_a_problem(port: int, caplog: pytest.LogCaptureFixture) -> None:
    for raw in NO_HTTP:
        answer = await sent(port, raw)
        is_problem(answer, "malformed-request", 400)
        assert answer[1]["connection"] == "close"
    assert "nvalid" not in caplog.text, "nobody needs a credential for it, so it must not fill the log"


async def test_a_broken_chunk_is_malformed_and_leaves_no_job(port: int, book: JobBook) -> None:
    head = request("POST /v1/jobs HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")
    is_problem(await sent(port, head + b"zz\r\n" + JOB), "malformed-request", 400)
    assert await rows(book) == 0


async def test_an_address_is_read_up_to_its_limit(port: int) -> None:
    start = "/v1/jobs?cursor="
    fits = start + "x" * (MAX_TARGET - len(start))
    is_problem(await sent(port, request(f"GET {fits} HTTP/1.1")), "validation-failed", 422)
    is_problem(await sent(port, request(f"GET {fits}x HTTP/1.1")), "uri-too-long", 414)


async def test_headers_are_read_up_to_their_limits(port: int) -> None:
    many = [f"X-{number}: 1" for number in range(MAX_HEADERS - 1)]
    assert (await sent(port, request("GET /healthz HTTP/1.1", *many)))[0] == 200
    is_problem(await sent(port, request("GET /healthz HTTP/1.1", *many, "X-More: 1")), "headers-too-large", 431)
    large = f"X: {'x' * (MAX_HEAD - 100)}"
    assert (await sent(port, request("GET /healthz HTTP/1.1", large)))[0] == 200
    is_problem(await sent(port, request("GET /healthz HTTP/1.1", large + "x" * 100)), "headers-too-large", 431)


async def test_a_head_without_an_end_is_cut_off(port: int) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: test\r\n"
    for parts in ([start + b"X: "] + [b"x" * 1000] * 200, [start] + [b"Y: 1\r\n" * 200] * 200, [b"\r\n" * 500] * 200):
        is_problem(await sent(port, *parts), "headers-too-large", 431)
    is_problem(await sent(port, b"GET /", *[b"x" * 1000] * 200), "uri-too-long", 414)


async def test_after_a_refusal_nothing_more_is_read_from_a_connection(port: int) -> None:
    """What follows may be part of what was refused: answering it would be how requests are smuggled."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"broken\r\n\r\n" + request("GET /healthz HTTP/1.1"))
        is_problem(await read_answer(reader), "malformed-request", 400)
        with contextlib.suppress(ConnectionError):
            writer.write(request("GET /healthz HTTP/1.1"))
            await writer.drain()
        assert await reader.read() == b""
        writer.close()


async def test_what_came_before_a_refusal_is_answered_first(port: int, book: JobBook) -> None:
    job = request("POST /v1/jobs HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(JOB)}", body=JOB)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(job + job + b"broken\r\n\r\n")
        for _ in range(2):
            assert (await read_answer(reader))[0] == 202
        is_problem(await read_answer(reader), "malformed-request", 400)
        assert await reader.read() == b""
        writer.close()
    assert await rows(book) == 2


async def test_the_limits_count_each_request_of_a_connection_anew(port: int) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(10):
            writer.write(request("GET /healthz HTTP/1.1", f"X: {'x' * (MAX_HEAD // 2)}"))
            assert (await read_answer(reader))[0] == 200
        writer.close()


async def test_bodies_are_read_to_their_declared_end(port: int, book: JobBook) -> None:
    """A body that ends early makes no job, and what is longer than declared is another request."""
    kind = "Content-Type: application/json"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST /v1/jobs HTTP/1.1", kind, f"Content-Length: {len(JOB) + 1}", body=JOB))
    await writer.drain()
    writer.close()
    answer = await sent(port, request("POST /v1/jobs HTTP/1.1", kind, f"Content-Length: {len(JOB) - 1}", body=JOB))
    is_problem(answer, "malformed-json", 400)
    assert await rows(book) == 0
    await reader.read()


async def test_a_body_without_a_length_is_read_up_to_the_limit(port: int, book: JobBook) -> None:
    head = request("POST /v1/jobs HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")

    def chunked(size: int) -> list[bytes]:
        start, end = b'{"task": "demo.echo", "payload": {"x": "', b'"}}'
        body = start + b"x" * (size - len(start) - len(end)) + end
        parts = [body[at : at + 65_536] for at in range(0, size, 65_536)]
        return [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]

    assert (await sent(port, head, *chunked(MIB)))[0] == 202
    is_problem(await sent(port, head, *chunked(MIB + 1)), "payload-too-large", 413)
    assert await rows(book) == 1


async def test_a_length_beyond_the_limit_is_refused_before_the_body_comes(port: int) -> None:
    for path, limit in (("/v1/jobs", MIB), ("/v1/jobs/batch", 32 * MIB)):
        head = request(f"POST {path} HTTP/1.1", "Content-Type: application/json", f"Content-Length: {limit + 1}")
        is_problem(await sent(port, head), "payload-too-large", 413)


async def test_a_client_that_asks_whether_to_go_on_is_told(port: int) -> None:
    def head(length: int) -> bytes:
        return request(
            "POST /v1/jobs HTTP/1.1",
            *("Content-Type: application/json", f"Content-Length: {length}", "Expect: 100-continue"),
        )

    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(len(JOB)))
        assert (await read_answer(reader))[0] == 100
        writer.write(JOB)
        assert (await read_answer(reader))[0] == 202
        writer.close()
    is_problem(await sent(port, head(2 * MIB)), "payload-too-large", 413)


NOWHERE = [
    *("/v1/jobs/%", "/v1/jobs/%zz", "/v1/jobs/%00", "/v1/jobs/%ff%fe", "/v1/tasks/%00", "/v1/tasks/%ff"),
    *("/v1/jobs/..%2f..%2fetc", "//v1/jobs", "/v1//jobs", "/v1/jobs/", "/v1/jobs/%2e%2e", "/docs/%2e%2e%2fmain.py"),
    *(
        "/v1/jobs;x=1",
        "/%76%31/job",
        "/problems/%00",
        "/v1/queues/high%00",
        "/v1/queues/gpu%0a:high",
        "/v1/queues/high%0a",
    ),
]


async def test_an_address_that_is_none_is_not_found(port: int) -> None:
    for target in NOWHERE:
        line = f"POST {target}/pause HTTP/1.1" if "queues" in target else f"GET {target} HTTP/1.1"
        found = is_problem(await sent(port, request(line)), "not-found", 404)
        assert "\0" not in json.dumps(found, ensure_ascii=False)


QUERIES = [
    "%",
    "%zz=1",
    "task=%00",
    "task=%ff",
    "metadata.%00=1",
    "metadata.a=%00",
    "payload.%ff=1",
    "=",
    "&&&",
    "status=%00",
]


async def test_a_query_that_is_broken_is_refused_or_fits_nothing(port: int) -> None:
    for query in QUERIES:
        status, _, body = await sent(port, request(f"GET /v1/jobs?{query} HTTP/1.1"))
        assert status in (200, 422), body
        assert json.loads(body).get("items", []) == []


async def test_methods_that_nobody_declares_are_refused_with_those_that_are(port: int) -> None:
    for method in ("TRACE", "OPTIONS", "PUT", "DELETE", "PROPFIND", "MKCOL"):
        answer = await sent(port, request(f"{method} /v1/jobs HTTP/1.1"))
        is_problem(answer, "method-not-allowed", 405)
        assert answer[1]["allow"] == "GET, HEAD, POST"
    connect = await sent(port, request("CONNECT example.org:443 HTTP/1.1"))
    assert 400 <= connect[0] < 500


async def test_head_sends_the_length_and_no_body(port: int) -> None:
    read = await sent(port, request("GET /v1/jobs HTTP/1.1"))
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):  # a body would be taken for the second answer
            writer.write(request("HEAD /v1/jobs HTTP/1.1"))
            status, headers, _ = await read_answer(reader, bodiless=True)
            assert (status, headers["content-length"]) == (200, read[1]["content-length"])
        writer.close()


async def test_an_upgrade_that_is_not_offered_is_ignored(port: int) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    assert (await sent(port, request("GET /healthz HTTP/1.1", *upgrade)))[0] == 200


async def test_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(request("GET /healthz HTTP/1.1", f"X-Request-Id: {number}") for number in range(20)))
        for number in range(20):
            status, headers, _ = await read_answer(reader)
            assert (status, headers["x-request-id"]) == (200, str(number))
        writer.close()


async def rows(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))
