"""Who is behind a process id: a number alone may belong to a stranger by now.

Reads `/proc` where there is one and asks `ps` elsewhere. Never signals anything but through `end_process`.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import SIGKILL, Signals

_PROC = Path("/proc/self/stat").exists()
_POLL_SECONDS = 0.02


def started(pid: int) -> str | None:
    """When the process started, as a token that no other process of this machine has together with its id.

    None when there is no such process, or only its remains (a zombie).
    """
    if _PROC:
        fields = _stat(pid)
        # Fields 3 and 22 of proc(5): state, start in clock ticks since boot. The boot id keeps boots apart.
        return None if fields is None or fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"
    line = _ps(pid, "stat=", "lstart=")
    return None if line is None or line.startswith("Z") else line.split(None, 1)[1]


def command_line(pid: int) -> str | None:
    """The command line, arguments joined by spaces; None when there is no such process."""
    if _PROC:
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace") or None
    return _ps(pid, "command=")


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return started(pid) is not None


def end_process(pid: int, steps: Sequence[tuple[Signals, float]], *, ours: Callable[[], bool]) -> bool:
    """Send each step's signal and wait its seconds, until the process is gone; True if it is.

    `ours` is asked before each signal, so that a process id that went to somebody else is never signalled.
    """
    for signal, seconds in steps:
        if not ours():
            return True
        try:
            if signal == SIGKILL and os.getpgid(pid) == pid:
                os.killpg(pid, signal)  # its children too: they lose their parent for good
            else:
                os.kill(pid, signal)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not ours():
                return True
            time.sleep(_POLL_SECONDS)
    return not ours()


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field, the name in parentheses, may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ps(pid: int, *columns: str) -> str | None:
    options = [part for column in columns for part in ("-o", column)]
    done = subprocess.run(  # noqa: S603  # the arguments are ours
        ["ps", "-ww", *options, "-p", str(pid)],  # noqa: S607  # `ps` is where the platform put it
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
