"""`/healthz` and `/readyz` of a worker process, on a port of its own, served by the control thread.

Small on purpose: two fixed answers over HTTP/1.1, no routing, no request body, one request a connection.
"""

import asyncio
import errno
import json
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import structlog

from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.orders import Shared

_log = structlog.get_logger("errander.health")

_TRIES = 50  # ports after the wanted one
_REQUEST_SECONDS = 5.0
_LOOP_SILENT_SECONDS = 10.0  # a job loop that stands still for longer is not ready


class HealthServer:
    """`async with` it; `port` is where it listens, None where it does not.

    Raises ValueError where the address is none of this machine's.
    """

    def __init__(self, settings: WorkerSettings, shared: "Shared", joined: threading.Event) -> None:
        self._settings = settings
        self._shared = shared
        self._joined = joined
        self._server: asyncio.Server | None = None
        self.port: int | None = None

    async def __aenter__(self) -> Self:
        wanted = self._settings.metrics_port
        if wanted == 0:
            return self
        for port in range(wanted, min(wanted + _TRIES, 65_535)):
            try:
                self._server = await asyncio.start_server(self._serve, self._settings.metrics_host, port)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    host = self._settings.metrics_host
                    raise ValueError(
                        f"ERRANDER_METRICS_HOST: {host} is no address that this machine can listen on ({error}); "
                        "set one that is, or ERRANDER_METRICS_PORT=0 for no health port"
                    ) from error
                continue
            self.port = port
            if port != wanted:
                _log.info("health.port_taken", wanted=wanted, used=port)
            return self
        _log.warning("health.no_port", wanted=wanted, tried=_TRIES)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                status, body = self._answer(request)
                payload = json.dumps(body).encode()
                head = (
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + payload)
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # a probe that went away, or a line too long to be one
        finally:
            writer.close()

    def _answer(self, request: bytes) -> tuple[HTTPStatus, dict[str, object]]:
        parts = request.split(b" ")
        path = parts[1].split(b"?")[0] if len(parts) > 1 else b""
        if path == b"/healthz":
            return HTTPStatus.OK, {"status": "ok"}
        if path == b"/readyz":
            return self._readiness()
        return HTTPStatus.NOT_FOUND, {"status": "not found"}

    def _readiness(self) -> tuple[HTTPStatus, dict[str, object]]:
        checks = {
            "lease": self._joined.is_set() and not self._shared.lease.lost,
            "loop": self._shared.pulse.silent_for() < _LOOP_SILENT_SECONDS,
        }
        ready = all(checks.values())
        body: dict[str, object] = {"status": "ok" if ready else "unavailable", "checks": checks}
        return (HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE), body
