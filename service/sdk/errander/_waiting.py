"""Waiting for a job to be final: held reads, one after the other, through whatever happens to the API meanwhile."""

import math
import time
from typing import Final

from ._api_errors import ApiError, ConnectionFailed, QuotaExceeded, RequestTimeout, Unavailable
from ._core import LONGEST_PAUSE_SECONDS, Core, parse, segment
from ._durations import Duration, to_seconds
from ._errors import WaitTimeout
from ._models import Job
from ._wire import Flow, Pause

WAIT_STEP: Final = 25
"""Seconds the server is asked to hold an answer: below the 30 it allows and the idle limits of common proxies."""
UNHELD_PAUSE: Final = 0.1


def wait(core: Core, job: Job, timeout: Duration | None) -> Flow[Job]:
    """Read until the job is final or `timeout` (None: no limit) is over; an API that is away is asked again.

    Raises `WaitTimeout`, and what the API refuses (`NotFound`, `Forbidden`, …).
    """
    if job.is_final and "result" in job.raw:  # a list's item is final without it
        return job
    limit = None if timeout is None else to_seconds(timeout, "timeout", longest=None)
    deadline = None if limit is None else time.monotonic() + limit
    pauses = core.pauses_while_waiting()
    while True:
        trouble: ApiError | None = None
        asked_at = time.monotonic()
        left = _left(deadline)
        held = int(min(WAIT_STEP, left))
        try:
            job = yield from _look(core, job.id, held, min(left, LONGEST_PAUSE_SECONDS))
            pauses = core.pauses_while_waiting()
        except (ConnectionFailed, Unavailable, QuotaExceeded, RequestTimeout) as error:
            trouble = error
        if job.is_final:
            return job
        left = _left(deadline)
        if left <= 0:
            raise WaitTimeout(job.id, job.status, limit or 0.0) from trouble
        if trouble is not None:
            yield Pause(min(left, max(next(pauses), trouble.retry_after or 0.0)))
        elif time.monotonic() - asked_at < held / 2 or held == 0:
            # Nobody held the answer: less than a second is left (only whole seconds are asked for), or the server is
            # shutting down, or a proxy dropped the query. Without a pause this would be a busy loop.
            yield Pause(min(left, UNHELD_PAUSE))


def _look(core: Core, job_id: str, held: int, left: float) -> Flow[Job]:
    """One read, held for up to `held` seconds, without tries again: the caller has a deadline."""
    params = [("wait", str(held))] if held else None
    slack = max(1.0, left - held)
    answer = yield from core.once(slack).call("GET", f"/v1/jobs/{segment(job_id)}", params=params, wait=held)
    return parse(Job, answer)


def _left(deadline: float | None) -> float:
    """Seconds until the deadline, at least 0."""
    return math.inf if deadline is None else max(0.0, deadline - time.monotonic())
