"""Who is asked, where a body ends, and clients of HTTP/1.0: what servers and proxies must not read in two ways."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from db.engine import Database
from tests.api.wire import is_problem, listening, read_answer, sent


@pytest.fixture
async def port(app: FastAPI, database: Database) -> AsyncIterator[int]:
    """Where the running application listens."""
    async with listening(app) as number:
        yield number


HOSTS = [
    *(b"Host: test", b"Host: test:80", b"Host: 127.0.0.1:8000", b"Host: [::1]:8000", b"Host:", b"host: a_b-c"),
    *(b"Host:  test ", b"Host: test:"),
]
NO_HOSTS = [
    *(b"X: y", b"Host: a\r\nHost: a", b"Host: a b", b"Host: a/b", b"Host: <a>", b"Host: a@b", b"Host: a, b"),
    *(b"Host: a:b", b"Host: ::1", b"Host: [::1", b"Host: [a", b'Host: "a"', b"Host: \xe9"),
]


async def test_a_request_names_exactly_one_host(port: int) -> None:
    for host in HOSTS:
        assert (await sent(port, b"GET /healthz HTTP/1.1\r\n%b\r\n\r\n" % host))[0] == 200, host
    for host in NO_HOSTS:
        answer = await sent(port, b"GET /healthz HTTP/1.1\r\n%b\r\n\r\n" % host)
        assert "Host" in is_problem(answer, "malformed-request", 400)["detail"], host


@pytest.mark.parametrize(
    "coding",
    [b"gzip, chunked", b"gzip", b"chunked, chunked", b"chunked;q=1", b"identity", b"x\r\nTransfer-Encoding: chunked"],
)
async def test_a_body_in_another_coding_is_not_taken_for_plain(port: int, coding: bytes) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nTransfer-Encoding: %b\r\n\r\n"
    body = b'15\r\n{"task": "demo.echo"}\r\n0\r\n\r\n'
    is_problem(await sent(port, head % coding + body), "malformed-request", 400)
    assert (await sent(port, head % b"Chunked" + body))[0] == 202


async def test_an_old_client_names_no_host_and_sends_no_chunks(port: int) -> None:
    status, headers, _ = await sent(port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (status, headers["connection"]) == (200, "close")
    chunked = b"POST /v1/jobs HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    is_problem(await sent(port, chunked), "malformed-request", 400)


async def test_an_old_client_reads_an_answer_of_unknown_length_to_its_end(app: FastAPI, port: int) -> None:
    async def stream(_request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    app.router.add_route("/stream", stream)
    bodies = {b"1.0": b"data: 0\n\ndata: 1\n\ndata: 2\n\n", b"1.1": b"9\r\ndata: 0\n\n\r\n"}
    for version, body in bodies.items():
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /stream HTTP/%b\r\nHost: test\r\nConnection: close\r\n\r\n" % version)
            status, headers, _ = await read_answer(reader)
            found = await reader.read()
            writer.close()
        assert (status, headers["connection"]) == (200, "close")
        assert ("transfer-encoding" in headers) == (version == b"1.1")
        assert found == body if version == b"1.0" else found.startswith(body)
