"""Readiness over HTTP: ask a health route and look at nothing but the status line."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

_TIMEOUT_SECONDS = 2.0


def http_ready(port: int, path: str = "/readyz", host: str = "127.0.0.1") -> Callable[[int], Awaitable[bool]]:
    """A readiness check for `Part.ready`: true once `GET path` answers 200."""

    async def check(_pid: int) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await _status(host, port, path) == 200
        except (OSError, TimeoutError, ValueError):
            return False

    return check


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    parts = line.split()
    return int(parts[1]) if len(parts) > 1 and parts[0].startswith(b"HTTP/") else 0
