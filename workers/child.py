"""What runs inside a child process: `python -m workers.child <socket> <parent's pid> <what to import>`.

Reads one job at a time from the socket, runs it, answers with its outcome, and ends when the socket closes. Its code
is ended by killing this process, so nothing here waits for anything else.
"""

import asyncio
import ctypes
import inspect
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from typing import Any

from db import failpoints
from db.lifecycle import ErrorKind
from errander import Context, JobInfo, PayloadInvalid, SyncContext, registry
from workers import logs, outcomes
from workers.catalogue import load
from workers.children import dump_outcome, pack
from workers.outcomes import Failed, Outcome

_HEADER = struct.Struct("!I")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class PipePort:
    """A context's way back to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.muted = False
        """This is a process that a task has forked: what runs here is no attempt, and says nothing."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Writes one message whole."""
        if self.muted:
            return
        with self._lock:
            self._connection.sendall(pack(message))

    def mute(self) -> None:
        """Right after a fork, in the new process: it must neither write into the socket nor keep it open."""
        self.muted = True
        self._connection.close()

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """See `errander.AttemptPort`."""
        self.send({"say": "progress", **outcomes.measured(done, total, message)})

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """See `errander.AttemptPort`."""
        try:
            plain = json.loads(json.dumps(dict(fields), default=outcomes.words))
        except Exception:  # a cycle, a key that is no text: a line of the log must never fail a job
            plain = {name: outcomes.words(value) for name, value in fields.items()}
        said = outcomes.words(message, outcomes.MAX_LOG_TEXT)
        self.send({"say": "log", "level": level, "message": said, "fields": plain})

    def cancelled(self) -> bool:
        """Never: a child is ended instead."""
        return False


def die_with_parent(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends; then checks that it has not ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def run_job(message: Mapping[str, Any], port: PipePort) -> Outcome:
    """Runs one job to its outcome."""
    task = registry[message["task"]]
    info = JobInfo.from_dict(message["info"])
    is_async = inspect.iscoroutinefunction(task.fn)
    context = (Context if is_async else SyncContext)(info, port) if task.wants_context else None
    try:
        args, kwargs = task.bind(message["payload"], context)
    except PayloadInvalid as error:
        return Failed(ErrorKind.PAYLOAD, "PayloadInvalid", outcomes.words(error), final=True)
    except BaseException as error:  # a validator is code of the task's
        return outcomes.raised(error)
    try:
        failpoints.hit("child.starting")
        value = asyncio.run(task.fn(*args, **kwargs)) if is_async else task.fn(*args, **kwargs)
        failpoints.hit("child.ended")
    except BaseException as error:
        return outcomes.raised(error)
    return outcomes.returned(task, value)


def _read(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(min(length, 2**20))
        if not part:
            os._exit(0)  # the parent has gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main() -> None:
    """Takes jobs until the parent goes away."""
    descriptor, parent, imports = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    # What happens to this job is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # no program that a task starts is to hold it
    failpoints.arm(os.environ)
    # what code logs here passes through the same filter as everything that its worker writes
    logs.set_up(os.environ.get("ERRANDER_LOG_FORMAT") or None, os.environ.get("ERRANDER_LOG_LEVEL") or "info")
    load(imports["tasks"], imports["builtin"])
    port = PipePort(connection)
    os.register_at_fork(after_in_child=port.mute)
    port.send({"say": "ready"})
    while True:
        (length,) = _HEADER.unpack(_read(connection, _HEADER.size))
        message = json.loads(_read(connection, length).decode("utf-8", "surrogatepass"))
        port.send({"say": "begun"})
        outcome = run_job(message, port)
        if port.muted:
            os._exit(0)  # a fork of the task's that came back out of its code
        port.send({"say": "outcome", **dump_outcome(outcome)})


if __name__ == "__main__":
    main()
