"""Child processes that run one job at a time, so that a job can be ended alone.

Two uses: tasks that are declared `executor="process"` (as many children as cores, kept and used again), and jobs whose
next crash would be their last (isolated: a fresh child for each, at most two at once). Parent and child speak
length-prefixed JSON over a socket pair of their own, so that what a task prints disturbs nothing. Children are
spawned, not forked, inherit nothing else, and die with their parent (Linux: PR_SET_PDEATHSIG; elsewhere: when the
socket closes).
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from db.lifecycle import CancelledBy, ErrorKind
from errander import JobInfo, Task
from workers.outcomes import Cancelled, Failed, Outcome, Snoozed, Succeeded

ISOLATED_AT_ONCE = 2
_START_SECONDS = 60.0
"""How long a child may take to import the tasks."""
_DYING_SECONDS = 1.0
"""How long a child that has stopped talking may take to end by itself."""
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
    """One child process."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def spawn(cls, tasks: Sequence[str], builtin: Sequence[str]) -> "Child":
        """Starts a child that has imported the task modules by the time it takes its first job."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "workers.child",
                str(theirs.fileno()),
                str(os.getpid()),
                json.dumps({"tasks": list(tasks), "builtin": list(builtin)}),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**26)
        return cls(process, reader, writer)

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
    def alive(self) -> bool:
        """Whether it has not been seen to end."""
        return self._process.returncode is None

    async def run(self, task: Task[..., Any], info: JobInfo, payload: str, port: ChildPort) -> Outcome | None:
        """Runs one job; None: the child died before it answered."""
        try:
            self._writer.write(pack({"task": task.name, "info": info.to_dict(), "payload": payload}))
            await self._writer.drain()
            while True:
                message = await self._read()
                match message.pop("say"):
                    case "progress":
                        port.progress(message["done"], message["total"], message["message"])
                    case "log":
                        port.log(message["level"], message["message"], message["fields"])
                    case _:
                        return load_outcome(message)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            await self._until_gone()
            return None

    async def _until_gone(self) -> None:
        """Returns when it has ended, which it mostly has by itself: it is killed only if it has not.

        A kill looks first whether the process has ended, and thereby takes its exit status away from the loop's watcher of
        children, which would then report 255.
        """
        try:
            async with asyncio.timeout(_DYING_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def drop(self) -> None:
        """Ends it and closes the socket; the event loop's watcher of children reaps it."""
        self.kill()
        self._writer.close()

    async def close(self) -> None:
        """Ends it and reaps it."""
        self.drop()
        await self._process.wait()

    def how_it_ended(self) -> str:
        """Its exit in words."""
        code = self._process.returncode
        if code is None:
            return "still ending"
        if code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit status {code}"


class Children:
    """All children of a worker process."""

    def __init__(self, tasks: Sequence[str], builtin: Sequence[str], *, at_once: int | None = None) -> None:
        self._tasks = tasks
        self._builtin = builtin
        self._slots = asyncio.Semaphore(at_once or os.cpu_count() or 1)
        self._isolated = asyncio.Semaphore(ISOLATED_AT_ONCE)
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    async def acquire(self, *, isolated: bool) -> Child:
        """A child to run one job in; waits until one may run."""
        slots = self._isolated if isolated else self._slots
        await slots.acquire()
        child: Child | None = None
        try:
            while not isolated and self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                self._all.discard(child)
            child = await Child.spawn(self._tasks, self._builtin)
            self._all.add(child)
            await child.until_ready()
        except BaseException:
            slots.release()
            if child is not None:
                child.drop()
                self._all.discard(child)
            raise
        return child

    def release(self, child: Child, *, isolated: bool) -> None:
        """The child has answered or died."""
        (self._isolated if isolated else self._slots).release()
        if child.alive and not isolated:
            self._idle.append(child)
            return
        child.drop()
        self._all.discard(child)

    def kill_all(self) -> None:
        """Ends every child at once; from any thread, as the last act of a process."""
        for child in list(self._all):
            child.kill()

    async def close(self) -> None:
        """Ends every child and reaps it."""
        await asyncio.gather(*(child.close() for child in list(self._all)))
        self._all.clear()
        self._idle.clear()
