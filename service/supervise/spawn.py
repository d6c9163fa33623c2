"""How a supervised program is started: in a session of its own, as another user if asked, bound to its launcher.

On Linux the kernel sends the program a signal when the launcher dies, even by `kill -9`; elsewhere the records
of `records.py` let the next start end what was left.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import IO

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Account:
    """A user that a program runs as when the launcher is root."""

    name: str
    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: Signals | None = None,
    output: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` and return at once; `output` takes both stdout and stderr, None leaves them the launcher's.

    `death_signal` is sent to the program when the launcher dies. The kernel takes the end of the *thread* that
    started it for that, so it is only asked for on the main thread.

    Raises OSError when the program cannot be started.
    """
    bound = death_signal is not None and threading.current_thread() is threading.main_thread()
    if bound or account is not None:
        argv = [*_prefix(account, death_signal if bound else None), *argv]
    return subprocess.Popen(  # noqa: S603  # running what the caller names is what this is for
        list(argv),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )


def _prefix(account: Account | None, death_signal: Signals | None) -> list[str]:
    # -I and -S: the program's PYTHONPATH must not reach this interpreter, and site-packages would only slow it.
    return [
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCH),
        str(os.getpid()),
        "-" if death_signal is None else str(int(death_signal)),
        "-" if account is None else str(account.uid),
        "-" if account is None else str(account.gid),
    ]
