"""Requests as bytes on a socket, and what comes back: the server as `errander api` runs it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.serving import PROTOCOL

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which belong to pytest here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def listening(app: FastAPI, *, idle_seconds: int = 5) -> AsyncIterator[int]:
    """The port of the running application, which keeps a connection without a request for so long."""
    server = _Server(
        uvicorn.Config(
            app,
            port=0,
            http=PROTOCOL,
            ws="none",
            access_log=False,
            log_config=None,
            lifespan="on",
            timeout_keep_alive=idle_seconds,
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), serving.exception()
            await asyncio.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer:
    """The next answer; `bodiless`: one to HEAD."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    length = 0 if bodiless else int(headers.get("content-length", "0"))
    return int(head[0].split(" ")[1]), headers, await reader.readexactly(length)


async def sent(port: int, *parts: bytes, bodiless: bool = False) -> Answer:
    """The answer to raw bytes; a connection that the server closes while they are sent may still have one."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            return await read_answer(reader, bodiless=bodiless)
        finally:
            writer.close()


def is_problem(answer: Answer, code: str, status: int) -> dict[str, Any]:
    """The problem document that an answer is."""
    found_status, headers, body = answer
    assert headers["content-type"] == "application/problem+json", answer
    found: dict[str, Any] = json.loads(body)
    assert (found["code"], found_status, found["status"]) == (code, status, status)
    assert found["instance"] == f"urn:request:{headers['x-request-id']}"
    for name in ("errander-version", "x-content-type-options", "content-security-policy", "cache-control"):
        assert headers[name], name
    return found


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with a `Host`."""
    return "\r\n".join([line, "Host: test", *headers, "", ""]).encode("latin-1") + body
