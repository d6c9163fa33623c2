"""What task code raises to say how its attempt ends, other than by returning or by failing.

Retry(defer=…)    try again; costs a failure
Snooze(defer=…)   try again later; costs nothing
Fail(reason)      FAILED now, whatever tries are left
Cancel(reason)    CANCELLED now
Cancelled         raised *into* task code by `ctx.check()` and `ctx.sleep()` after somebody asked to cancel
"""

from typing import Any

from ._durations import Duration, to_seconds


class Signal(Exception):
    """Base of the four instructions; `reason` is kept with the job."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)  # an error that was caught is often given as the reason


class Retry(Signal):
    """End this attempt as a failure and try again, if the job has attempts left.

    `defer` is the wait before the next start in seconds or as `timedelta`; None takes the job's own backoff.
    Without attempts left the job is FAILED, with `reason` as its error.
    """

    def __init__(self, reason: str = "", defer: Duration | None = None) -> None:
        super().__init__(reason)
        self.defer: float | None = None if defer is None else to_seconds(defer, "defer")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.defer)


class Snooze(Signal):
    """End this attempt and start again `defer` later (seconds or `timedelta`), at no cost to any budget.

    For work that is not ready yet: an upstream export still running, a window not open.
    """

    def __init__(self, defer: Duration, reason: str = "") -> None:
        super().__init__(reason)
        self.defer: float = to_seconds(defer, "defer")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.defer, self.reason)


class Fail(Signal):
    """End the job as FAILED now: trying again cannot help."""


class Cancel(Signal):
    """End the job as CANCELLED now: the work is no longer wanted."""


class Cancelled(BaseException):
    """Somebody asked to cancel this job; raised by `ctx.check()` and by `ctx.sleep()`.

    It derives from `BaseException`, as `asyncio.CancelledError` does, so that the `except Exception` around one
    unit of work in a loop does not swallow the request and carry on. Clean up in `finally`, and let it through.
    """
