"""What a supervisor is told about a program: how to start it, when it is ready, how it ends, when it comes back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from signal import SIGTERM, Signals

from service.supervise.spawn import Account

# sysexits.h EX_TEMPFAIL: a worker that retires, with nothing wrong but itself.
EXIT_RETIRED = 75


class Restart(StrEnum):
    """When a part that ended without being asked to is started again."""

    ON_FAILURE = "on-failure"
    """Unless it ended with exit code 0: it had finished (`--burst`, a drain)."""
    ALWAYS = "always"
    """Whatever it ended with."""


class Output(StrEnum):
    """Where a part's lines go."""

    INHERIT = "inherit"
    """To the launcher's own stdout and stderr, untouched."""
    TERMINAL = "terminal"
    """To the terminal with the part's name in front, and to its log file if it has one."""
    FILE = "file"
    """To its log file only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A program to keep running; times in seconds."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    """Its whole environment; None: the launcher's."""
    cwd: Path | None = None
    account: Account | None = None
    stage: int = 0
    """Stages start one after another and stop in reverse; the parts of one stage start and stop together."""

    output: Output = Output.INHERIT
    log_file: Path | None = None

    ready: Callable[[int], bool | Awaitable[bool]] | None = None
    """Asked with the process id until it is true; None: ready as soon as it runs. A plain function must not block."""
    ready_timeout: float = 60.0
    before_start: Callable[[], object] | None = None
    """Run in a thread before every start, the first and the later ones; raising makes that start a failed one."""
    restart: Restart = Restart.ON_FAILURE
    exit_refused: int | None = None
    """The exit code by which it says that it never will run as it is told to; ends the supervisor if it comes at first."""

    stop_signal: Signals = SIGTERM
    grace: float = 30.0
    """How long after `stop_signal` until SIGKILL to its process group."""
    hurried_grace: float = 0.0
    """The same when the stop is in a hurry (a second signal)."""
