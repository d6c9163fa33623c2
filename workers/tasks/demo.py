"""Tasks to try things with: `ERRANDER_BUILTIN_TASKS=all` or `demo`."""

import asyncio
from typing import Annotated, Any

from pydantic import Field

from errander import Context, SyncContext, task


@task("demo.echo")
async def echo(**anything: Any) -> dict[str, Any]:
    """Returns its payload."""
    return anything


@task("demo.sleep")
async def sleep(seconds: Annotated[float, Field(ge=0, le=86_400)]) -> dict[str, float]:
    """Sleeps, and says how long."""
    await asyncio.sleep(seconds)
    return {"slept": seconds}


class FlakyError(Exception):
    """What `demo.flaky` and `demo.fail` raise."""


@task("demo.flaky")
async def flaky(
    ctx: Context, fail_times: Annotated[int, Field(ge=0)], message: str = "it failed on purpose"
) -> dict[str, int]:
    """Fails `fail_times` times, then succeeds."""
    if ctx.failures < fail_times:
        raise FlakyError(message)
    return {"failures": ctx.failures, "attempt": ctx.attempt}


@task("demo.fail")
async def fail(message: str = "it failed on purpose") -> None:
    """Always fails."""
    raise FlakyError(message)


@task("demo.progress")
async def progress(
    ctx: Context,
    steps: Annotated[int, Field(ge=1, le=100_000)],
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 1.0,
) -> dict[str, int]:
    """Takes `seconds` in `steps` steps and reports each."""
    for step in range(1, steps + 1):
        await asyncio.sleep(seconds / steps)
        ctx.progress(step, steps, f"step {step} of {steps}")
    return {"steps": steps}


@task("demo.primes", executor="process")
def primes(ctx: SyncContext, limit: Annotated[int, Field(ge=0, le=50_000_000)]) -> dict[str, int]:
    """Counts the primes below `limit`, in a child process: CPU-bound work that does not hold up other jobs."""
    if limit < 3:  # there is none below 2
        return {"count": 0, "largest": 0}
    sieve = bytearray([1]) * limit
    sieve[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    ctx.progress(limit, limit)
    return {"count": sum(sieve), "largest": sieve.rindex(1)}
