"""The tasks that a run submits, for `errander worker`: they say when their code ran, over a local socket."""

import asyncio
import os
import socket
import time
from typing import Any, Final

from errander import Context, task

STAMPS: Final = "BENCH_STAMPS"
"""The environment variable with the path of the socket that stamps go to."""


def stamp(what: str, number: int) -> None:
    """Tells the run that code is running now, by CLOCK_MONOTONIC. Never waits; a run that is gone is none of its business."""
    at = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(f"{what} {number} {at!r} {os.getpid()}".encode(), os.environ[STAMPS])
        except OSError:
            return


@task("bench.stamp")
async def stamped(n: int) -> dict[str, Any]:
    """Says that it runs."""
    stamp("ran", n)
    return {"n": n}


@task("bench.hold")
async def held(ctx: Context, n: int) -> dict[str, Any]:
    """Says which attempt runs; the first one never ends by itself."""
    stamp("attempt", ctx.attempt)
    if ctx.attempt == 1:
        await asyncio.sleep(3600)
    return {"n": n}
