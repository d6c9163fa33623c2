"""Tasks for the worker and fault tests; each writes its start and its end to the ledger.

Imported by real worker processes (`ERRANDER_TASKS=tests.faults.tasks`), by their children, and by tests.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from errander import Cancel, Context, Fail, Retry, Snooze, SyncContext, task
from service.chaos import ledger
from service.chaos.ledger import What

ledger.write(What.BOOT)


@contextlib.contextmanager
def written(ctx: Context | SyncContext) -> Iterator[None]:
    """Writes a start, and an end however the block ends."""
    ledger.write(What.START, ctx.job_id, ctx.attempt)
    try:
        yield
    finally:
        ledger.write(What.END, ctx.job_id, ctx.attempt)


@task("fault.quick")
async def quick(ctx: Context, n: int = 0) -> int:
    """Returns at once."""
    with written(ctx):
        return n


@task("fault.sleep")
async def sleep(ctx: Context, seconds: float) -> float:
    """A coroutine that can be cancelled at any moment."""
    with written(ctx):
        await asyncio.sleep(seconds)
    return seconds


@task("fault.deaf")
async def deaf(ctx: Context, seconds: float) -> str:
    """A coroutine that swallows its first cancellation and goes on for `seconds`."""
    with written(ctx):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(seconds)
    return "went on"


@task("fault.block")
async def block(ctx: Context, seconds: float) -> float:
    """Holds up the whole event loop."""
    with written(ctx):
        time.sleep(seconds)  # noqa: ASYNC251 - that is the fault
    return seconds


@task("fault.thread")
def thread(ctx: SyncContext, seconds: float) -> float:
    """A thread that never looks whether it should stop."""
    with written(ctx):
        time.sleep(seconds)
    return seconds


@task("fault.polite")
def polite(ctx: SyncContext, seconds: float) -> float:
    """A thread that looks ten times a second whether it should stop."""
    with written(ctx):
        ctx.sleep(seconds)
    return seconds


@task("fault.never")
def never(ctx: SyncContext) -> None:
    """A thread that never returns."""
    with written(ctx):
        threading.Event().wait()


@task("fault.process", executor="process")
def process(ctx: SyncContext, seconds: float) -> int:
    """Runs in a child process, and returns its pid."""
    with written(ctx):
        time.sleep(seconds)
    return os.getpid()


@task("fault.kill")
async def kill(ctx: Context) -> None:
    """Ends the process it runs in."""
    ledger.write(What.START, ctx.job_id, ctx.attempt)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


@task("fault.kill-in-process", executor="process")
def kill_in_process(ctx: SyncContext) -> None:
    """Ends the child process it runs in."""
    ledger.write(What.START, ctx.job_id, ctx.attempt)
    os._exit(3)


@task("fault.where")
async def where(ctx: Context) -> dict[str, int]:
    """Which process it ran in."""
    with written(ctx):
        return {"pid": os.getpid(), "parent": os.getppid()}


class DeliberateError(Exception):
    """What `fault.raise` raises."""


class BrokenError(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raise(how: str) -> None:
    match how:
        case "error":
            raise DeliberateError("it failed on purpose")
        case "broken":
            raise BrokenError
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "generator-exit":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "stop-iteration":
            raise StopIteration("over")
        case "fail":
            raise Fail("no use")
        case "cancel":
            raise Cancel("not wanted")
        case "nul":
            raise DeliberateError("a\0b \ud800 " + "x" * 100_000)
        case "group":
            raise BaseExceptionGroup("several", [KeyboardInterrupt(), DeliberateError("one")])


@task("fault.raise")
async def raise_(ctx: Context, how: str = "error") -> None:
    """A coroutine that raises."""
    with written(ctx):
        _raise(how)


@task("fault.raise-in-thread")
def raise_in_thread(ctx: SyncContext, how: str = "error") -> None:
    """A thread that raises."""
    with written(ctx):
        _raise(how)


@task("fault.raise-in-process", executor="process")
def raise_in_process(ctx: SyncContext, how: str = "error") -> None:
    """A child process that raises."""
    with written(ctx):
        _raise(how)


@task("fault.fail-later")
def fail_later(ctx: SyncContext, seconds: float) -> None:
    """A thread that does not look whether it should stop, and then raises."""
    with written(ctx):
        time.sleep(seconds)
        _raise("error")


@task("fault.flaky")
async def flaky(ctx: Context, failures: int) -> int:
    """Fails so often, then succeeds."""
    with written(ctx):
        if ctx.failures < failures:
            raise DeliberateError(f"failure {ctx.failures + 1}")
    return ctx.attempt


@task("fault.retry")
async def retry(ctx: Context, times: int, defer: float = 0.0, arqs: bool = False) -> int:
    """Asks for another try so often, with our class or with arq's own."""
    with written(ctx):
        if ctx.failures < times and arqs:
            from arq.worker import Retry as ArqRetry  # only here: every child process imports this module

            raise ArqRetry(defer=defer)
        if ctx.failures < times:
            raise Retry("again", defer=defer)
    return ctx.attempt


@task("fault.snooze")
async def snooze(ctx: Context, times: int, defer: float = 0.0) -> int:
    """Asks to run later so often."""
    with written(ctx):
        if ctx.attempt <= times:
            raise Snooze(defer)
    return ctx.attempt


@task("fault.progress")
async def progress(ctx: Context, steps: int, seconds: float) -> int:
    """Reports each step."""
    with written(ctx):
        for step in range(1, steps + 1):
            await asyncio.sleep(seconds / steps)
            ctx.progress(step, steps, f"step {step}")
    return steps


RESULTS: dict[str, Any] = {
    "nul": {"s": "a\0b"},
    "surrogate": ["\ud800"],
    "nan": float("nan"),
    "infinity": [float("inf")],
    "huge": 10**140_000,
    "object": object(),
    "long": "x" * (1024 * 1024 + 1),
    "key": {object(): 1},
}
"""Results that cannot be stored."""


@task("fault.result")
async def result(ctx: Context, which: str) -> Any:
    """Returns something that cannot be stored."""
    with written(ctx):
        if which == "deep":
            deep: list[Any] = []
            for _ in range(100_000):
                deep = [deep]
            return deep
        if which == "loop":
            loop: list[Any] = []
            loop.append(loop)
            return loop
        return RESULTS[which]


@task("fault.echo")
async def echo(**anything: Any) -> dict[str, Any]:
    """Returns its payload; any payload fits, and the ledger does not hear of it."""
    return anything


@task("fault.pid")
def pid(ctx: SyncContext, seconds: float) -> int:
    """A thread that never looks whether it should stop, and returns which process it ran in."""
    with written(ctx):
        time.sleep(seconds)
    return os.getpid()


@task("fault.large")
async def large(ctx: Context, seconds: float, size: int) -> str:
    """Returns so many characters that do not get smaller by compression."""
    with written(ctx):
        await asyncio.sleep(seconds)
    return os.urandom(size // 2).hex()


@task("fault.eat")
async def eat(ctx: Context, megabytes: int) -> int:
    """Takes so much memory, for good."""
    with written(ctx):
        food = b"x" * (megabytes * 2**20)
    return len(food)


@task("fault.segfault")
async def segfault(ctx: Context) -> None:
    """Ends the process it runs in by an error of memory access."""
    ledger.write(What.START, ctx.job_id, ctx.attempt)
    ctypes.string_at(0)
