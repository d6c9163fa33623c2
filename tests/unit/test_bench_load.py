"""The sender of the benchmarks: its requests, how it reads answers, and a load on a real socket."""

import asyncio

import pytest

from tests.benchmarks.load import Load, Requests, run, whole_length

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def test_paths_take_turns_and_every_keyed_request_has_a_key_of_its_own() -> None:
    requests = Requests(Load(80, "POST", ("/a", "/b"), '{"x": 1}', keyed=True))
    sent = [requests.next() for _ in range(4)]
    assert [one.split(b" ")[1] for one in sent] == [b"/a", b"/b", b"/a", b"/b"]
    assert all(one.endswith(b'\r\n\r\n{"x": 1}') and b"Content-Length: 8\r\n" in one for one in sent)
    keys = {line for one in sent for line in one.split(b"\r\n") if line.startswith(b"Idempotency-Key: ")}
    assert len(keys) == 4
    assert b"Idempotency-Key" not in Requests(Load(80, "GET", ("/",))).next()


def test_the_length_of_an_answer_is_known_once_its_head_is_whole() -> None:
    assert whole_length(ANSWER) == len(ANSWER)
    assert whole_length(ANSWER[:20]) == -1
    with pytest.raises(ValueError, match="Content-Length"):
        whole_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


class Server:
    """Answers every request, in two pieces, and counts what was whole when a connection ended."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(self._answer[:30])
                await writer.drain()
                writer.write(self._answer[30:])
        except asyncio.IncompleteReadError as ended:
            assert ended.partial == b""
        finally:
            writer.close()


async def test_a_load_counts_what_was_answered_in_its_time() -> None:
    served = Server(ANSWER)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        taken = await run(Load(port, "GET", ("/x",), connections=3, seconds=0.3))
        assert taken.statuses == {"202": taken.answers}
        assert 0 < taken.answers < served.requests
        assert taken.rate == taken.answers / taken.seconds
        assert 0 < taken.p50 <= taken.p99


async def test_a_refused_load_is_an_error_that_shows_the_answer() -> None:
    served = Server(b"HTTP/1.1 422 No\r\nContent-Length: 8\r\n\r\nbecause.")
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RuntimeError, match=r"(?s)422.*because\."):
            await run(Load(port, "GET", ("/x",), connections=1, seconds=0.2))
