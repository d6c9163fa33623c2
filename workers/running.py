"""Runs a worker's main coroutine to its end, whatever its jobs raise on the way.

asyncio lets SystemExit and KeyboardInterrupt of any task or callback out of the loop, and so ends the process: with
`sys.exit()` in a coroutine that a job has started beside its own, its neighbours would pay for it. The task that raised
keeps its error, so the job that awaits it fails with it; the loop just goes on.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from workers.outcomes import described, traced

_log = structlog.get_logger("errander.worker")

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, but only `main` itself ends it; and Ctrl-C while nobody handles SIGINT."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main, name="errander.main")
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                unhandled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
                # `main` may have ended in the same turn in which somebody else raised: what it returned counts
                its_own = task.done() and not task.cancelled() and task.exception() is error
                if its_own or (unhandled and isinstance(error, KeyboardInterrupt)):
                    raise
                _log.error(
                    "worker.exit_refused",
                    error=described(error),
                    exception=traced(error),
                    hint="code of a job asked the process to end",
                )
