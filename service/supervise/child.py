"""One running process of a part: its output read, its end noticed, its whole process group gone afterwards."""

import asyncio
import contextlib
import os
import subprocess
import threading
from signal import SIGKILL, Signals
from typing import Any

from service.supervise.output import Console, LogFile
from service.supervise.part import Output, Part
from service.supervise.spawn import spawn

# A line longer than this is passed on in pieces.
_LINE_BYTES = 64 * 1024
# What a group that was just killed may take to close its end of the pipe.
_LAST_WORDS_SECONDS = 2.0
# Waiting for an end without reaping; macOS has it from Python 3.13 on.
_CAN_PEEK = hasattr(os, "waitid")


class Child:
    """A process of `part`, started by the constructor. Raises OSError when it cannot be started.

    Create it on the main thread, inside a running event loop; all methods belong to that loop.
    """

    def __init__(self, part: Part, console: Console, log: LogFile | None) -> None:
        self.part = part
        self._console = console
        self._log = log
        piped = part.output is not Output.INHERIT
        self._process = spawn(
            part.argv,
            env=part.env,
            cwd=part.cwd,
            account=part.account,
            death_signal=part.stop_signal,
            output=subprocess.PIPE if piped else None,
        )
        self.pid = self._process.pid
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        # Guards the moment between "may be signalled" and "reaped, the id is anybody's".
        self._reaping = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"output of {part.name}", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, args=(loop,), name=f"end of {part.name}", daemon=True).start()

    @property
    def returncode(self) -> int | None:
        """As in `subprocess`: minus the signal's number if one ended it; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def ended(self) -> int:
        """Wait until the process is gone, its group with it, and its output read; its return code."""
        return await asyncio.shield(self._ended)

    async def stop(self, hurry: asyncio.Event) -> int:
        """Ask it to end, wait its grace (the shorter one once `hurry` is set), then kill its group."""
        self._signal(self.part.stop_signal)
        hurried = asyncio.create_task(hurry.wait())
        try:
            either: set[asyncio.Future[Any]] = {self._ended, hurried}
            await asyncio.wait(either, timeout=self.part.grace, return_when=asyncio.FIRST_COMPLETED)
            if hurried.done() and not self._ended.done():
                await asyncio.wait({self._ended}, timeout=self.part.hurried_grace)
        finally:
            hurried.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hurried
        if not self._ended.done():
            self._console.say(f"{self.part.name} did not end in time and is killed")
            self.kill()
        return await self.ended()

    def kill(self) -> None:
        """End it and its process group at once."""
        with self._reaping:
            if self._process.returncode is None:
                _kill_group(self.pid)

    def _signal(self, signal: Signals) -> None:
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, signal)

    def _read(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        name, terminal = self.part.name, self.part.output is Output.TERMINAL
        with pipe:
            while line := pipe.readline(_LINE_BYTES):
                if self._log is not None:
                    self._log.write(line if line.endswith(b"\n") else line + b"\n")
                if terminal:
                    self._console.relay(name, line.decode(errors="replace").rstrip("\r\n"))

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if _CAN_PEEK:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._reaping:
            # Where the process is not reaped yet, its group's number is still its own. Nothing of the group stays
            # behind, and nothing keeps the pipe open.
            _kill_group(self.pid)
            code = self._process.wait()
        self._reader.join(_LAST_WORDS_SECONDS)
        with contextlib.suppress(RuntimeError):  # the loop was closed first
            loop.call_soon_threadsafe(_set_once, self._ended, code)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, SIGKILL)


def _set_once(future: asyncio.Future[int], value: int) -> None:
    if not future.done():
        future.set_result(value)
