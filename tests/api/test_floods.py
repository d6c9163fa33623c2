"""What a client sends beside its requests, without an end or too slowly: left out, counted, and ended. And clients that are
only unusual, who are served.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from db.engine import Database
from service.http.heads import MAX_HEAD
from service.http.protocol import MAX_PIPELINED
from tests.api.wire import Answer, is_problem, listening, read_answer, request, sent
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
JOB = b'{"task": "demo.echo"}'
LAST = b"0\r\n"
ENDLESS = 20_000_000
"""Bytes."""
QUICK = 0.2
"""Seconds, in place of those that a slow client is given, where it is too slow."""
PATIENT = 2.0
"""The same where it is not: the loop of a busy machine may halt for a while, and then nothing comes from this client either."""


@pytest.fixture
async def port(app: FastAPI, database: Database) -> AsyncIterator[int]:
    """Where the running application listens."""
    async with listening(app) as number:
        yield number


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.protocol.HEAD_SECONDS", QUICK)
    monkeypatch.setattr("service.http.protocol.BODY_SECONDS", QUICK)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.protocol.HEAD_SECONDS", PATIENT)
    monkeypatch.setattr("service.http.protocol.BODY_SECONDS", PATIENT)


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def poured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, part: bytes) -> asyncio.StreamReader:
    """Sends on and on, until the server has enough; returns what it said to that. Fails if it takes anything."""
    ended = asyncio.ensure_future(rest_of(reader))
    with contextlib.suppress(ConnectionError):
        for _ in range(ENDLESS // len(part)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
            if ended.done() or writer.is_closing():
                break
        else:
            ended.cancel()
            raise AssertionError(f"{ENDLESS} bytes were taken")
    said = asyncio.StreamReader()
    said.feed_data(await ended)
    said.feed_eof()
    return said


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the connection ends."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def rows(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))


async def test_a_trailer_is_no_header(port: int, book: JobBook) -> None:
    trailers = b"Idempotency-Key: one\r\nX-Request-Id: mine\r\nIf-Match: nonsense\r\n\r\n"
    raw = request("POST /v1/jobs HTTP/1.1", JSON, CHUNKED) + chunk(JOB) + LAST + trailers
    for _ in range(2):
        status, headers, _ = await sent(port, raw)
        assert status == 202
        assert headers["x-request-id"] != "mine"
    assert await rows(book) == 2


async def test_a_trailer_is_no_header_of_the_next_request_either(port: int) -> None:
    raw = request("POST /nowhere HTTP/1.1", CHUNKED) + LAST + b"X-Request-Id: mine\r\n\r\n"
    async with connected(port) as (reader, writer):
        writer.write(raw + request("GET /healthz HTTP/1.1"))
        assert (await read_answer(reader))[0] == 404
        status, headers, _ = await read_answer(reader)
        assert (status, headers["x-request-id"] == "mine") == (200, False)


AROUND = {
    "trailers": (LAST, b"X: y\r\n" * 200),
    "one trailer": (LAST + b"X: ", b"y" * 1200),
    "an extension": (b"1;x=", b"y" * 1200),
    "extensions": (b"", b"1;x=" + b"y" * 1200 + b"\r\nz\r\n"),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("path", ["/v1/jobs", "/nowhere"])
async def test_what_surrounds_a_body_is_read_up_to_a_limit(port: int, book: JobBook, path: str, around: str) -> None:
    """Both while the request waits for its body, and after it was answered without."""
    start, more = AROUND[around]
    async with connected(port) as (reader, writer):
        writer.write(request(f"POST {path} HTTP/1.1", JSON, CHUNKED) + chunk(b" ") + start)
        if path == "/nowhere":
            is_problem(await read_answer(reader), "not-found", 404)
        said = await poured(reader, writer, more)
        if path != "/nowhere":
            is_problem(await read_answer(said), "headers-too-large", 431)
        assert await said.read() == b""
    assert await rows(book) == 0


async def test_many_small_chunks_are_a_body_like_any_other(port: int, book: JobBook) -> None:
    body = b'{"task": "demo.echo", "payload": {"x": "' + b"x" * 100_000 + b'"}}'
    parts = [chunk(body[at : at + 5]) for at in range(0, len(body), 5)]
    assert sum(map(len, parts)) - len(body) > 3 * MAX_HEAD
    raw = request("POST /v1/jobs HTTP/1.1", JSON, CHUNKED) + b"".join(parts) + LAST + b"\r\n"
    assert (await sent(port, raw))[0] == 202
    assert await rows(book) == 1


async def test_a_body_that_nobody_reads_is_dropped_up_to_a_limit(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.protocol.MAX_DROPPED", 1_000_000)
    async with connected(port) as (reader, writer):
        for _ in range(2):  # what is within the limit costs nobody the connection
            writer.write(request("POST /nowhere HTTP/1.1", "Content-Length: 900000"))
            is_problem(await read_answer(reader), "not-found", 404)
            writer.write(b"x" * 900_000)
        writer.write(request("POST /nowhere HTTP/1.1", "Content-Length: 900000000"))
        is_problem(await read_answer(reader), "not-found", 404)
        assert await (await poured(reader, writer, b"x" * 10_000)).read() == b""


async def test_requests_that_wait_for_others_are_limited(app: FastAPI, port: int) -> None:
    """Those beyond the limit are not lost: the last answer says that the connection ends with it."""
    is_let = asyncio.Event()

    async def held(_request: Request) -> Response:
        await is_let.wait()
        return Response("held")

    app.router.add_route("/held", held)
    async with connected(port) as (reader, writer):
        writer.write(request("GET /held HTTP/1.1") + request("GET /healthz HTTP/1.1") * (3 * MAX_PIPELINED))
        writer.write(request("GET /healthz HTTP/1.1", f"X: {'x' * 20_000}") * 20)  # which the server has not read yet
        await sent(port, request("GET /healthz HTTP/1.1"))  # the server has looked at both connections
        is_let.set()
        for number in range(MAX_PIPELINED + 1):
            status, headers, _ = await read_answer(reader)
            assert (status, headers.get("connection")) == (200, "close" if number == MAX_PIPELINED else None)
        assert await reader.read() == b"", "an end in order: after a reset some of the answers might be lost"


@pytest.mark.parametrize("how", ["leaves", "stops in a body"])
async def test_whoever_handles_a_request_learns_that_its_client_left_others_behind_it(
    app: FastAPI, port: int, how: str
) -> None:
    """And what waited is not begun."""
    began: list[str] = []
    is_told = asyncio.Event()

    async def held(asked: Request) -> Response:
        began.append(asked.url.path)
        while (await asked.receive())["type"] != "http.disconnect":
            pass
        is_told.set()
        return Response("nobody reads this")

    app.router.add_route("/held", held, methods=["GET", "POST"])
    app.router.add_route("/next", held)
    behind = request("GET /next HTTP/1.1") + request("POST /held HTTP/1.1", CHUNKED)
    async with connected(port) as (reader, writer):
        writer.write(request("GET /held HTTP/1.1") + behind)
        await eventually(lambda: began)
        if how == "leaves":
            writer.close()
        else:
            writer.write(b"no chunk")
        async with asyncio.timeout(5):
            await is_told.wait()
        assert await rest_of(reader) == b""
    assert began == ["/held"]


async def test_a_client_that_sends_many_requests_at_once_is_served(port: int) -> None:
    many = 4 * MAX_PIPELINED
    one = request("GET /healthz HTTP/1.1", f"X: {'x' * 1000}")
    async with connected(port) as (reader, writer):
        writer.write(one * (MAX_PIPELINED // 8))
        for number in range(many):
            assert (await read_answer(reader))[0] == 200
            if number + MAX_PIPELINED // 8 < many:
                writer.write(one)


async def test_a_large_body_and_half_a_head_behind_it_are_no_large_head(port: int) -> None:
    body = b"x" * 100_000
    raw = request("POST /nowhere HTTP/1.1", f"Content-Length: {len(body)}") + body
    async with connected(port) as (reader, writer):
        writer.write(raw + b"GET /healthz HTTP/1.1\r\n")
        is_problem(await read_answer(reader), "not-found", 404)
        writer.write(b"Host: test\r\n\r\n")
        assert (await read_answer(reader))[0] == 200


@pytest.mark.parametrize("drip", [b"", b"x", b"\r\n"])
async def test_a_head_that_does_not_end_in_time_is_answered_408(port: int, impatient: None, drip: bytes) -> None:
    """However often a piece of it comes."""
    async with connected(port) as (reader, writer):
        writer.write(request("GET /healthz HTTP/1.1"))
        assert (await read_answer(reader))[0] == 200
        writer.write(b"\r\n" if drip == b"\r\n" else b"GET /")
        answer = await dripping(reader, writer, drip)
        assert answer[1]["connection"] == "close"
        assert "0.2 seconds" in is_problem(answer, "request-timeout", 408)["detail"]
        assert await rest_of(reader) == b""


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes) -> Answer:
    """The answer to a client that goes on slowly until it comes."""
    answer = asyncio.ensure_future(read_answer(reader))
    with contextlib.suppress(ConnectionError):
        while drip and not answer.done():
            writer.write(drip)
            await asyncio.sleep(QUICK / 10)
    return await answer


async def test_a_body_that_stops_is_answered_408_and_makes_no_job(port: int, impatient: None, book: JobBook) -> None:
    head = request("POST /v1/jobs HTTP/1.1", JSON, f"Content-Length: {len(JOB)}")
    for raw in (head, head + JOB[:-1], request("POST /v1/jobs HTTP/1.1", JSON, CHUNKED) + chunk(JOB) + LAST):
        async with connected(port) as (reader, writer):
            writer.write(raw)
            is_problem(await read_answer(reader), "request-timeout", 408)
            assert await rest_of(reader) == b""
    assert await rows(book) == 0


async def test_a_body_that_stops_after_its_answer_ends_the_connection(port: int, impatient: None) -> None:
    async with connected(port) as (reader, writer):
        writer.write(request("POST /nowhere HTTP/1.1", "Content-Length: 10") + b"x")
        is_problem(await read_answer(reader), "not-found", 404)
        assert await rest_of(reader) == b""


async def test_a_body_may_take_long_while_it_comes(port: int, patient: None) -> None:
    head = request("POST /v1/jobs HTTP/1.1", JSON, f"Content-Length: {len(JOB)}")
    async with connected(port) as (reader, writer):
        writer.write(head)
        for at in range(0, len(JOB), 3):
            await asyncio.sleep(PATIENT / 6)
            writer.write(JOB[at : at + 3])
        assert (await read_answer(reader))[0] == 202


async def test_a_client_that_the_server_keeps_waiting_has_time(app: FastAPI, port: int, patient: None) -> None:
    """Nothing comes while nothing is read, or asked for."""

    async def slow(asked: Request) -> Response:
        await asyncio.sleep(PATIENT * 1.2)
        return Response(str(len(await asked.body())))

    app.router.add_route("/slow", slow, methods=["POST"])
    body = b"x" * 10_000_000  # more than the buffers between the two hold
    async with connected(port) as (reader, writer), connected(port) as (asked, continuing):
        writer.write(request("POST /slow HTTP/1.1", f"Content-Length: {len(body)}") + body)
        continuing.write(request("POST /slow HTTP/1.1", "Content-Length: 2", "Expect: 100-continue"))
        status, _, answer = await read_answer(reader)
        assert (status, answer) == (200, b"%d" % len(body))
        assert (await read_answer(asked))[0] == 100
        continuing.write(b"xx")
        assert (await read_answer(asked))[2] == b"2"


async def test_a_connection_without_a_request_waits_as_long_as_any(port: int, impatient: None) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(2):
            await asyncio.sleep(2 * QUICK)
            writer.write(request("GET /healthz HTTP/1.1"))
            assert (await read_answer(reader))[0] == 200


async def test_a_connection_on_which_nothing_ever_comes_ends(app: FastAPI, database: Database) -> None:
    async with listening(app, idle_seconds=1) as port, connected(port) as (reader, _):
        assert await rest_of(reader) == b""


async def test_a_request_that_is_held_is_no_slow_one(port: int, impatient: None) -> None:
    status, headers, _ = await sent(
        port, request(f"POST /v1/jobs?wait={3 * QUICK:g} HTTP/1.1", JSON, f"Content-Length: {len(JOB)}", body=JOB)
    )
    assert status == 202
    assert headers["location"]
