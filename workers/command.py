"""Running one worker process in the foreground, for `errander worker` and for arq's own command."""

import sys

import structlog

from db.errors import DatabaseError, SettingsError
from errander import AuthoringError
from workers import ending, garbage, logs, running
from workers.control import ControlEnded
from workers.process import WorkerProcess
from workers.settings import WorkerSettings

_log = structlog.get_logger("errander.worker")

REFUSED = 2
"""The exit status of a worker that cannot run as it is told to: its settings or its task modules are wrong."""


def run(settings: WorkerSettings, *, burst: bool = False) -> int:
    """Runs a worker until it ends; returns its exit status, or starts the process again."""
    logs.set_up(settings.log_format, settings.log_level)
    garbage.settle()
    try:
        again = running.run(_run(settings, burst=burst))
    except (AuthoringError, ControlEnded, DatabaseError, ValueError) as error:
        print(f"errander worker: {error}", file=sys.stderr)  # noqa: T201 - the last word of a command
        return REFUSED if isinstance(error, AuthoringError | SettingsError | ValueError) else 1
    if again:
        ending.leave(again=True, supervised=settings.supervised)
    return 0


async def _run(settings: WorkerSettings, *, burst: bool) -> bool:
    return await WorkerProcess(settings, burst=burst).run()
