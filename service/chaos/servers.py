"""The two servers of a run, stopped and started in every way while everybody uses them.

Started on the main thread and waited for without holding up the loop, so that a server is bound to this process: it is
told to end when the run dies, by whatever means.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from signal import SIGKILL, Signals
from typing import Any

import asyncpg
import redis.asyncio

from service.chaos import family
from service.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, ServerStartError
from service.supervise import last_lines, spawn

ASK_SECONDS = 5.0
"""How long a server may take to do what a fault asks of it."""
_READY_SECONDS = 60.0
_END_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_LINES = 15


class Server:
    """One embedded server. Only one caller at a time may stop, start or freeze it: hold `lock`."""

    def __init__(self, embedded: EmbeddedServer) -> None:
        self.embedded = embedded
        self.lock = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """As a message calls it."""
        return self.embedded.name

    @property
    def url(self) -> str:
        """Its address; known once started."""
        return self.embedded.url

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    async def start(self) -> None:
        """Starts it and returns when it takes connections. Raises EmbeddedError."""
        await asyncio.to_thread(self.embedded.prepare)
        with self.embedded.log_file.open("ab") as log:
            process = spawn(
                self.embedded.argv,
                env=self.embedded.env,
                cwd=self.embedded.home,
                account=self.embedded.account,
                death_signal=self.embedded.stop_steps[0][0],
                output=log,
            )
        self._process = process
        deadline = time.monotonic() + _READY_SECONDS
        while not await asyncio.to_thread(self.embedded.is_ready, process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = last_lines(self.embedded.log_file, _LOG_LINES)
                raise ServerStartError(f"{self.name} did not start; the end of {self.embedded.log_file}:", lines)
            await asyncio.sleep(_POLL_SECONDS)

    async def end(self, number: Signals) -> None:
        """Ends it by a signal, and by SIGKILL where that takes too long; returns when it is gone."""
        process = self._process
        if process is None:
            return
        process.send_signal(number)
        deadline = time.monotonic() + _END_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.send_signal(SIGKILL)
            await asyncio.sleep(_POLL_SECONDS)
        self._process = None

    def freeze(self) -> list[int]:
        """Stops it with all its processes; their ids, none where it does not run."""
        return family.freeze([self.pid]) if self.pid is not None else []

    def kill(self) -> None:
        """Ends it and everything it has started at once, frozen or not; for the end of a run."""
        if self.pid is None or self._process is None:
            return
        family.thaw([self.pid, *family.descendants(self.pid)])
        for number, seconds in self.embedded.stop_steps:
            if self._process.poll() is None:
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
        self._process = None


class Postgres(Server):
    """PostgreSQL."""

    embedded: EmbeddedPostgres

    async def connect(self, timeout: float = ASK_SECONDS) -> asyncpg.Connection[Any]:
        """A connection past all proxies. Raises what the driver raises."""
        # the role's own limit is that of the service
        limits = {"statement_timeout": f"{timeout:g}s"}
        return await asyncpg.connect(self.url, timeout=timeout, command_timeout=timeout, server_settings=limits)

    async def ask(self, sql: str, timeout: float = ASK_SECONDS) -> list[asyncpg.Record]:
        """One statement on a connection of its own. Raises what the driver raises."""
        connection = await self.connect(timeout)
        try:
            return await connection.fetch(sql)
        finally:
            connection.terminate()


class Valkey(Server):
    """Valkey."""

    embedded: EmbeddedValkey

    async def command(self, *words: str | int) -> Any:
        """One command on a connection of its own, past all proxies. Raises what the client raises."""
        client = redis.asyncio.Redis.from_url(
            self.url, socket_timeout=ASK_SECONDS, socket_connect_timeout=ASK_SECONDS, retry=None
        )
        try:
            return await client.execute_command(*words)
        finally:
            await client.aclose()
