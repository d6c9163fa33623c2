"""Where the lines of the parts go: the terminal, with the part's name in front, and a log file each.

The terminal never holds anybody up: a reader that stops reading (a pipe nobody empties, a paused terminal) costs
lines on the terminal, which the log files keep.
"""

import contextlib
import os
import queue
import sys
import threading
from pathlib import Path
from typing import TextIO

_QUEUED_LINES = 10_000
_FLUSH_SECONDS = 1.0
_NAME_WIDTH = 9
_COLOURS = (36, 32, 35, 33, 34)
# One earlier file is kept, so a part's logs stay below twice this.
_LOG_BYTES = 10 * 1024 * 1024


class Console:
    """Writes whole lines to a stream from a thread of its own, in the order they came."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._seen: dict[str, int] = {}
        self._lines: queue.Queue[str] = queue.Queue(_QUEUED_LINES)
        self._dropped = 0
        self._idle = threading.Condition()
        self._pending = 0
        threading.Thread(target=self._write, name="console", daemon=True).start()

    def say(self, text: str) -> None:
        """Write the launcher's own words, as they are."""
        with self._idle:
            self._pending += 1
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            with self._idle:
                self._pending -= 1
                self._dropped += 1

    def relay(self, name: str, text: str) -> None:
        """Write a line of the part `name`, its name in front."""
        head = f"{name:<{_NAME_WIDTH}}"
        if self._colour:
            colour = self._seen.setdefault(name, _COLOURS[len(self._seen) % len(_COLOURS)])
            head = f"\033[{colour}m{head}\033[0m"
        self.say(f"{head} | {text}")

    def flush(self, seconds: float = _FLUSH_SECONDS) -> bool:
        """Wait until everything said is written, at most so long; True if it is."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, seconds)

    def _write(self) -> None:
        open_ = True
        while True:
            text = self._lines.get()
            with self._idle:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                text = f"... {dropped} lines are only in the log files\n{text}"
            if open_:
                try:
                    self._stream.write(text + "\n")
                    if self._lines.empty():
                        self._stream.flush()
                except (OSError, ValueError):
                    open_ = False  # nobody reads any more; the log files go on
            with self._idle:
                self._pending -= 1
                if self._pending == 0:
                    self._idle.notify_all()


class LogFile:
    """A log file that starts over before it outgrows the disk, keeping the one before as `<name>.1`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, line: bytes) -> None:
        """Append a line; a full disk loses it rather than the part."""
        with self._lock, contextlib.suppress(OSError):
            if self._size + len(line) > _LOG_BYTES:
                self._start_over()
            self._size += self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _start_over(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)
        self._size = 0


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log, for a message about what went wrong; none when it cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count * 400))
        return file.read().decode(errors="replace").splitlines()[-count:]
    return []
