"""Records of running parts on disk, so that the next start can end what a killed launcher left behind.

One file a process, `<folder>/<part>.<pid>.pid`, holding its id, its start and its arguments. A process is only
signalled when all three still fit.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from service.supervise.identity import command_line, end_process, started

# A leftover has lost its launcher and soon its database: it gets a moment to say goodbye, not a whole drain.
_GOODBYE_SECONDS, _KILL_SECONDS = 3.0, 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a process that was started."""

    pid: int
    started: str
    argv: tuple[str, ...]
    stop_signal: Signals = SIGTERM

    def fits(self) -> bool:
        """Whether the process with this id is still the recorded one."""
        if started(self.pid) != self.started:
            return False
        line = command_line(self.pid)
        # A script's command line has its interpreter in front of what was asked for.
        return line is not None and line.rstrip().endswith(" ".join(self.argv).rstrip())


def write_record(folder: Path, name: str, pid: int, argv: Sequence[str], stop_signal: Signals = SIGTERM) -> Path | None:
    """Record a process that was just started; None if it is gone already."""
    token = started(pid)
    if token is None:
        return None
    path = folder / f"{name}.{pid}.pid"
    record = {"pid": pid, "started": token, "argv": list(argv), "stop_signal": int(stop_signal)}
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def end_leftovers(folder: Path) -> list[str]:
    """End every recorded process that still runs, remove all records, and return the names of what was ended.

    Call it only while holding whatever keeps a second launcher out of `folder`.
    """
    found = {path: _read(path) for path in sorted(folder.glob("*.pid"))}
    running = {path: record for path, record in found.items() if record is not None and record.fits()}
    for record in running.values():
        # All at once, so that their goodbyes take place side by side.
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, record.stop_signal)
    for record in running.values():
        steps = ((record.stop_signal, _GOODBYE_SECONDS), (SIGKILL, _KILL_SECONDS))
        end_process(record.pid, steps, ours=record.fits)
    for path in found:
        path.unlink(missing_ok=True)
    return [path.name.split(".", 1)[0] for path in running]


def _read(path: Path) -> Record | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        argv = tuple(str(word) for word in data["argv"])
        return Record(int(data["pid"]), str(data["started"]), argv, Signals(data["stop_signal"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # half written by a launcher that was killed just then
