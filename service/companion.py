"""A worker beside the API: a supervised child process, started and drained by the application's lifespan."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from service.supervise import Console, Part, PartError, Supervisor

_log = structlog.get_logger("errander.api")

_PAUSE = 2.0
"""Seconds between tries to start a worker that does not come up."""


@contextlib.asynccontextmanager
async def companion_worker(grace: float) -> AsyncIterator[None]:
    """Keeps one worker process running for as long as the block lasts, and drains it at the end.

    It has `grace` seconds to end. The API does not wait for it: requests are served while it starts.
    """
    errander = shutil.which("errander", path=str(Path(sys.executable).parent)) or "errander"
    environment = {name: value for name, value in os.environ.items() if name != "ERRANDER_WITH_WORKER"}
    part = Part(
        name="worker",
        argv=(errander, "worker"),
        env=environment | {"ERRANDER_SUPERVISED": "1"},
        grace=grace,
    )
    supervisor = Supervisor(Console())
    starting = asyncio.create_task(_start(supervisor, part), name="errander.companion")
    try:
        yield
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()


async def _start(supervisor: Supervisor, part: Part) -> None:
    """Starts it, again and again while it ends before it was ready; once it was, the supervisor takes over."""
    while True:
        try:
            await supervisor.start([part])
        except PartError as error:
            _log.warning("worker.not_started", error=str(error))
            await asyncio.sleep(_PAUSE)
        else:
            return
