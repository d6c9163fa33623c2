"""The tasks of a run. Each writes to the ledger when it starts, while it runs and when it ends.

Imported by worker processes and their children (`ERRANDER_TASKS=service.chaos.tasks`), never by the run itself.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Annotated, NoReturn

from pydantic import AfterValidator

from errander import Cancel, Context, Fail, Retry, Snooze, SyncContext, task
from service.chaos import ledger
from service.chaos.ledger import What

_TICK_SECONDS = 0.1
_ORPHAN_SECONDS = 2.0  # long enough to meet the next attempt, short enough to be gone before the run is
Result = dict[str, int | str]


class ChaosError(Exception):
    """What tasks raise that fail on purpose; the message is `attempt N`."""


@contextlib.contextmanager
def _written(ctx: Context | SyncContext) -> Iterator[None]:
    ledger.write(What.START, ctx.job_id, ctx.attempt, repr(ctx.run_at.timestamp()))
    try:
        yield
    except BaseException as error:
        ledger.write(What.END, ctx.job_id, ctx.attempt, type(error).__name__)
        raise
    ledger.write(What.END, ctx.job_id, ctx.attempt, "ok")


def _result(ctx: Context | SyncContext) -> Result:
    """What every task returns: which attempt it was, so that a result under another one's name is noticed."""
    return {"attempt": ctx.attempt, "image": ledger.image()}


async def _for(ctx: Context, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, _TICK_SECONDS))
        ledger.write(What.TICK, ctx.job_id, ctx.attempt)


def _busy_for(ctx: Context | SyncContext, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _TICK_SECONDS))
        ledger.write(What.TICK, ctx.job_id, ctx.attempt)


def _die(ctx: Context | SyncContext) -> None:
    ledger.write(What.DIE, ctx.job_id, ctx.attempt)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def _fork(ctx: SyncContext, seconds: float) -> int:
    """Another process of the same job: its id. It is its parent's image, has what that has open, and ends by itself."""
    process = os.fork()
    if process == 0:
        try:
            _busy_for(ctx, seconds)
        finally:
            os._exit(0)
    return process


def _looked_up(value: int) -> NoReturn:
    raise KeyError(value)


Unreadable = Annotated[int, AfterValidator(_looked_up)]
"""Its schema takes any integer, and reading it raises what pydantic hands on as it is."""


@task("chaos.quick")
async def quick(ctx: Context) -> Result:
    """Returns at once."""
    with _written(ctx):
        return _result(ctx)


@task("chaos.sleep")
async def sleep(ctx: Context, seconds: float) -> Result:
    """A coroutine that can be cancelled at any moment."""
    with _written(ctx):
        await _for(ctx, seconds)
        return _result(ctx)


@task("chaos.deaf")
async def deaf(ctx: Context, seconds: float) -> Result:
    """A coroutine that swallows its first cancellation and goes on."""
    with _written(ctx):
        with contextlib.suppress(asyncio.CancelledError):
            await _for(ctx, seconds)
        await _for(ctx, seconds)
        return _result(ctx)


@task("chaos.block")
async def block(ctx: Context, seconds: float) -> Result:
    """Holds up the whole event loop."""
    with _written(ctx):
        _busy_for(ctx, seconds)
        return _result(ctx)


@task("chaos.thread")
def thread(ctx: SyncContext, seconds: float) -> Result:
    """A thread that never looks whether it should stop."""
    with _written(ctx):
        _busy_for(ctx, seconds)
        return _result(ctx)


@task("chaos.polite")
def polite(ctx: SyncContext, seconds: float) -> Result:
    """A thread that looks ten times a second whether it should stop."""
    with _written(ctx):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ctx.sleep(_TICK_SECONDS)
            ledger.write(What.TICK, ctx.job_id, ctx.attempt)
        return _result(ctx)


@task("chaos.process", executor="process")
def process(ctx: SyncContext, seconds: float) -> Result:
    """Runs in a child process."""
    with _written(ctx):
        _busy_for(ctx, seconds)
        return _result(ctx)


@task("chaos.flaky")
async def flaky(ctx: Context, failures: int) -> Result:
    """Fails so often, then succeeds."""
    with _written(ctx):
        if ctx.failures < failures:
            raise ChaosError(f"attempt {ctx.attempt}")
        return _result(ctx)


@task("chaos.retry")
async def retry(ctx: Context, failures: int, defer: float) -> Result:
    """Asks so often to be tried again after a time of its own."""
    with _written(ctx):
        if ctx.failures < failures:
            raise Retry(f"attempt {ctx.attempt}", defer=defer)
        return _result(ctx)


@task("chaos.snooze")
async def snooze(ctx: Context, times: int, defer: float) -> Result:
    """Asks so often to run later."""
    with _written(ctx):
        if ctx.attempt <= times:
            raise Snooze(defer)
        return _result(ctx)


@task("chaos.fail")
async def fail(ctx: Context) -> None:
    """FAILED at once."""
    with _written(ctx):
        raise Fail(f"attempt {ctx.attempt}")


@task("chaos.cancel")
async def cancel(ctx: Context) -> None:
    """CANCELLED by itself."""
    with _written(ctx):
        raise Cancel(f"attempt {ctx.attempt}")


@task("chaos.cancel-oddly")
async def cancel_oddly(ctx: Context) -> None:
    """CANCELLED by itself, with a reason that is no text."""
    with _written(ctx):
        raise Cancel(ValueError(f"attempt {ctx.attempt}"))  # type: ignore[arg-type]  # nobody checks whom it is raised by


@task("chaos.unreadable")
async def unreadable(value: Unreadable) -> None:
    """Its code is never reached."""


@task("chaos.unreadable-in-process", executor="process")
def unreadable_in_process(value: Unreadable) -> None:
    """Its code is never reached, in a child process."""


@task("chaos.exit")
async def exit_(ctx: Context) -> None:
    """Tries to leave the process by an exception that ends programs."""
    with _written(ctx):
        raise SystemExit(3)


@task("chaos.killer")
async def killer(ctx: Context, times: int) -> Result:
    """Kills the process it runs in, in its first so many attempts."""
    with _written(ctx):
        if ctx.attempt <= times:
            _die(ctx)
        return _result(ctx)


@task("chaos.killer-in-process", executor="process")
def killer_in_process(ctx: SyncContext, times: int) -> Result:
    """Kills the child process it runs in, in its first so many attempts."""
    with _written(ctx):
        if ctx.attempt <= times:
            _die(ctx)
        return _result(ctx)


@task("chaos.forker", executor="process")
def forker(ctx: SyncContext, seconds: float) -> Result:
    """Has its work done by a process of its own, in a child process, and waits for it."""
    with _written(ctx):
        os.waitpid(_fork(ctx, seconds), 0)
        return _result(ctx)


@task("chaos.forker-dies", executor="process")
def forker_dies(ctx: SyncContext, times: int) -> Result:
    """Kills the child process it runs in and leaves a process of its own behind, in its first so many attempts."""
    with _written(ctx):
        if ctx.attempt <= times:
            _fork(ctx, _ORPHAN_SECONDS)
            _die(ctx)
        return _result(ctx)
