"""Ends the process groups of a worker's children once the worker is gone, however it went.

The kernel tells a child of its worker's death, but not what that child has started itself. So a small process reads
from a pipe that only the worker holds which groups there are; when the pipe ends, the worker has, and what is left of
the groups is killed. It signals nothing before that. What leaves its group (`setsid`) is out of its reach.

Both sides are here: `Warden` in the worker, `main` in the process. Imports the standard library only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Final

_END_SECONDS: Final = 1.0
"""How long it may take to end when its pipe has: it has next to nothing to do."""


class Warden:
    """The worker's side. The process is started when there is a first group; usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def guard(self, group: int) -> None:
        """The process group is to end with this process."""
        with self._lock:
            self._groups.add(group)
            if (process := self._alive()) is not None:
                self._tell(process, [f"+{group}"])
            else:
                self._start()

    def forget(self, group: int) -> None:
        """The group has ended. To be called while its number cannot be another's yet. Raises nothing.

        A process that somebody has killed is replaced, for the sake of the groups that are left.
        """
        with self._lock:
            self._groups.discard(group)
            if (process := self._alive()) is not None:
                self._tell(process, [f"-{group}"])
            elif self._groups:
                with contextlib.suppress(OSError):  # there is no process to be had: the next group asks for one again
                    self._start()

    def close(self) -> None:
        """Ends the process; whatever group is still guarded ends with it."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)
                self._process = None
            self._groups.clear()

    def _alive(self) -> subprocess.Popen[bytes] | None:
        return self._process if self._process is not None and self._process.poll() is None else None

    def _start(self) -> None:
        if self._process is not None:
            self._end(self._process)
            self._process = None
        # -I and -S: nothing of the tasks' environment reaches this interpreter, and it is ready in milliseconds
        self._process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        os.set_blocking(_pipe(self._process).fileno(), False)
        self._tell(self._process, [f"+{group}" for group in self._groups])

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        _pipe(process).close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @staticmethod
    def _tell(process: subprocess.Popen[bytes], lines: list[str]) -> None:
        try:
            for line in lines:
                os.write(_pipe(process).fileno(), f"{line}\n".encode())  # whole or not at all: it is short (PIPE_BUF)
        except OSError:
            process.kill()  # it reads no more; one that knows only half would one day kill a stranger's group


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise AssertionError("a warden is started with a pipe")
    return process.stdin


def main() -> None:
    """Reads until the worker is gone, then ends what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the worker, which may take its time to end
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
