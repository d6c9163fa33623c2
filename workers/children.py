"""Child processes that run one job at a time, so that a job can be ended alone.

Two uses: tasks that are declared `executor="process"` (as many children as cores, kept and used again), and jobs whose
next crash would be their last (isolated: a fresh child for each, at most two at once). Parent and child speak
length-prefixed JSON over a socket pair of their own, so that what a task prints disturbs nothing. Children are
spawned, not forked, and inherit nothing else. Each leads a session and a process group of its own, which is killed
whole: at its end, and by the warden at the end of this process.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from db.lifecycle import CancelledBy, ErrorKind
from errander import JobInfo, Task
from workers.outcomes import Cancelled, Failed, Outcome, Snoozed, Succeeded
from workers.warden import Warden

ISOLATED_AT_ONCE = 2
"""Jobs that may be killers: each may take as much memory as there is."""
_START_SECONDS = 60.0
"""How long a child may take to import the tasks."""
_DYING_SECONDS = 1.0
"""How long a child that has stopped talking may take to end by itself, and one that has ended to be heard out."""
_REAPING_SECONDS = 0.2
"""How long the last act of a process waits for killed children: a process that starts again in place keeps its zombies."""
_CAN_PEEK = hasattr(os, "waitid")
"""Waiting for an end without reaping; macOS has it from Python 3.13 on."""
_HEADER = struct.Struct("!I")
_CLASSES: dict[str, type[Succeeded | Failed | Snoozed | Cancelled]] = {
    "succeeded": Succeeded,
    "failed": Failed,
    "snoozed": Snoozed,
    "cancelled": Cancelled,
}


class ChildNotStarted(Exception):
    """A child ended, or took too long, before it could take a job. The job is not to blame."""


class ChildPort(Protocol):
    """Where a child's progress and log lines go."""

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """See `errander.AttemptPort`."""

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """See `errander.AttemptPort`."""


def pack(message: Mapping[str, Any]) -> bytes:
    """One message as it goes over the socket."""
    body = json.dumps(message).encode("utf-8", "surrogatepass")
    return _HEADER.pack(len(body)) + body


def dump_outcome(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a message."""
    values = asdict(outcome)
    if isinstance(outcome, Failed):
        values["error_kind"] = values.pop("kind")
    return {**values, "kind": type(outcome).__name__.lower()}


def load_outcome(message: Mapping[str, Any]) -> Outcome:
    """The inverse of `dump_outcome`."""
    values = {name: value for name, value in message.items() if name != "kind"}
    kind = _CLASSES[message["kind"]]
    if kind is Failed:
        values["kind"] = ErrorKind(values.pop("error_kind"))
    elif kind is Cancelled:
        values["by"] = CancelledBy(values["by"])
    return kind(**values)


class Child:
    """One child process, and the process group that it leads: whatever its jobs start is in it, and ends with it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        warden: Warden,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._warden = warden
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._killed = False
        self._busy = False
        """Code may be running in it: it has not answered since it was given a job."""
        # Guards the moment between "may be signalled" and "reaped, the number is anybody's".
        self._reaping = threading.Lock()
        warden.guard(process.pid)
        self._watcher = threading.Thread(target=self._watch, name=f"errander.child.{process.pid}", daemon=True)
        self._watcher.start()

    @classmethod
    async def spawn(cls, tasks: Sequence[str], builtin: Sequence[str], warden: Warden) -> "Child":
        """Starts a child that has imported the task modules by the time it takes its first job."""
        imports = json.dumps({"tasks": list(tasks), "builtin": list(builtin)})
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                ours.setblocking(False)
                reader, writer = await asyncio.open_connection(sock=ours, limit=2**26)
            except BaseException:
                ours.close()
                raise
            try:
                return cls.start(theirs, imports, reader, writer, warden)
            except BaseException:
                writer.close()
                raise

    @classmethod
    def start(
        cls,
        theirs: socket.socket,
        imports: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        warden: Warden,
    ) -> "Child":
        """Starts the process itself, which gets `theirs`. Raises OSError, and leaves none behind then."""
        process = subprocess.Popen(  # noqa: S603 - our own program
            # -P: else the current folder comes first, and a package there that is named like one of ours is taken for it
            [sys.executable, "-P", "-m", "workers.child", str(theirs.fileno()), str(os.getpid()), imports],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )
        try:
            return cls(process, reader, writer, warden)
        except BaseException:  # nobody would watch it: there is no thread to be had, or no warden
            _kill_group(process.pid)
            warden.forget(process.pid)
            process.wait()
            raise

    async def until_ready(self) -> None:
        """Returns when it has imported the tasks, so that no job pays for that. Raises ChildNotStarted."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                message = await self._read()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            await self._until_gone()
            raise ChildNotStarted(f"a child process did not start ({self.how_it_ended()}): {error!r}") from error
        if message.get("say") != "ready":
            raise ChildNotStarted(f"a child process began with {message!r}")

    async def _read(self) -> dict[str, Any]:
        (length,) = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
        message: dict[str, Any] = json.loads((await self._reader.readexactly(length)).decode("utf-8", "surrogatepass"))
        return message

    @property
    def fit(self) -> bool:
        """Whether a job may be given to it, as far as is known: it was not killed, has not ended, and runs nothing."""
        return not (self._killed or self._busy or self._ended.is_set())

    async def run(self, task: Task[..., Any], info: JobInfo, payload: str, port: ChildPort) -> Outcome | None:
        """Runs one job; None: the child died in the middle of it.

        Raises ChildNotStarted if it died before any code of the job's ran.
        """
        begun = False
        self._busy = True
        try:
            self._writer.write(pack({"task": task.name, "info": info.to_dict(), "payload": payload}))
            await self._writer.drain()
            while True:
                message = await self._read()
                match message.pop("say"):
                    case "begun":
                        begun = True
                    case "progress":
                        port.progress(message["done"], message["total"], message["message"])
                    case "log":
                        port.log(message["level"], message["message"], message["fields"])
                    case _:
                        outcome = load_outcome(message)
                        self._busy = False
                        return outcome
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            await self._until_gone()
            if not begun:
                raise ChildNotStarted(f"a child process ended before the job began ({self.how_it_ended()})") from error
            return None

    def _watch(self) -> None:
        """Runs in a thread of its own: waits for the process, ends what is left of its group, then reaps it."""
        if _CAN_PEEK:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._reaping:
            _kill_group(self._process.pid)
            self._warden.forget(self._process.pid)
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed first
            self._loop.call_soon_threadsafe(self._note_end)

    def _note_end(self) -> None:
        self._ended.set()
        # What has left its group may hold the other end of the socket open: the reader waits for its last words only.
        self._loop.call_later(_DYING_SECONDS, self._writer.transport.abort)

    async def _until_gone(self) -> None:
        """Returns when it has ended, which it mostly has by itself: it is killed only if it has not."""
        try:
            async with asyncio.timeout(_DYING_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Ends it and its process group at once; from any thread."""
        self._killed = True
        with self._reaping:
            if self._process.returncode is None:
                _kill_group(self._process.pid)

    def reaped(self, timeout: float) -> bool:
        """Waits in the calling thread, at most `timeout` seconds; whether it is gone."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    def drop(self) -> None:
        """Ends it and closes the socket; its thread reaps it."""
        self.kill()
        self._writer.close()

    async def close(self) -> None:
        """Ends it and reaps it."""
        self.drop()
        await self._ended.wait()

    def how_it_ended(self) -> str:
        """Its exit in words."""
        code = self._process.returncode
        if code is None:
            return "still ending"
        if code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit status {code}"


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class Children:
    """All children of a worker process."""

    def __init__(self, tasks: Sequence[str], builtin: Sequence[str], *, at_once: int | None = None) -> None:
        self._tasks = tasks
        self._builtin = builtin
        self._slots = asyncio.Semaphore(at_once or os.cpu_count() or 1)
        self._isolated = asyncio.Semaphore(ISOLATED_AT_ONCE)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._warden = Warden()

    async def acquire(self, *, isolated: bool) -> Child:
        """A child to run one job in; waits until one may run."""
        slots = self._isolated if isolated else self._slots
        await slots.acquire()
        child: Child | None = None
        try:
            while not isolated and self._idle:
                idle = self._idle.pop()
                if idle.fit:
                    return idle
                self._forget(idle)
            child = await Child.spawn(self._tasks, self._builtin, self._warden)
            self._all.add(child)
            await child.until_ready()
        except BaseException:
            slots.release()
            if child is not None:
                self._forget(child)
            raise
        return child

    def release(self, child: Child, *, isolated: bool) -> None:
        """The child has answered or died."""
        (self._isolated if isolated else self._slots).release()
        if child.fit and not isolated:
            self._idle.append(child)
        else:
            self._forget(child)

    def _forget(self, child: Child) -> None:
        child.drop()
        self._all.discard(child)

    def kill_all(self) -> None:
        """Ends every child at once; from any thread, as the last act of a process."""
        children = list(self._all)
        for child in children:
            child.kill()
        deadline = time.monotonic() + _REAPING_SECONDS
        if all(child.reaped(max(0.0, deadline - time.monotonic())) for child in children):
            self._warden.close()

    async def close(self) -> None:
        """Ends every child and reaps it."""
        await asyncio.gather(*(child.close() for child in list(self._all)))
        self._all.clear()
        self._idle.clear()
        self._warden.close()
