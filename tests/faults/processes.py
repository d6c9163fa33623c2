"""Real worker processes, with short leases: started, killed, frozen and cleaned up by pid."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

import psutil

from service.chaos.ledger import LEDGER_VARIABLE
from tests.faults.ledger import Ledger
from tests.fixtures.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
LEASE: Final = 3.0
"""Seconds: ten times shorter than in production, and everything that hangs on it too."""
HEARTBEAT: Final = 0.5
SILENCE: Final = LEASE - HEARTBEAT
"""A job may have started this long before a lease has passed since its worker's last beat."""
SHORT: Final[Mapping[str, str]] = {
    "ERRANDER_LEASE_SECONDS": f"{LEASE:g}",
    "ERRANDER_HEARTBEAT_SECONDS": f"{HEARTBEAT:g}",
    "ERRANDER_REAPER_SECONDS": "0.5",
    "ERRANDER_LEADER_SECONDS": "2",
    "ERRANDER_STUCK_SECONDS": "1",
    "ERRANDER_DRAIN_SECONDS": "2",
    "ERRANDER_HEAD_SECONDS": "0.5",
}
_ALWAYS: Final[Mapping[str, str]] = {
    "ERRANDER_TASKS": "tests.faults.tasks",
    "ERRANDER_BUILTIN_TASKS": "demo",
    "ERRANDER_METRICS_PORT": "0",
    "ERRANDER_LOG_FORMAT": "json",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}
ERRANDER: Final = (str(Path(sys.executable).with_name("errander")), "worker")
ARQ: Final = (str(Path(sys.executable).with_name("arq")), "workers.Settings")
_READY_SECONDS = 60.0
_TAIL = 4_000


class Worker:
    """One worker process; it may become another image under the same pid."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ledger: Ledger) -> None:
        self.process = process
        self.log_file = log
        self._ledger = ledger

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.log_file.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def ids(self) -> list[UUID]:
        """The worker ids it has had, oldest first: a new one each time it became ready."""
        return [
            UUID(found) for found in re.findall(r'"worker": "([0-9a-f-]{36})"[^\n]*"event": "worker.ready"', self.log)
        ]

    async def ready(self, *, times: int = 1) -> "Worker":
        """Waits until it has been ready so often."""

        def there() -> bool:
            ended = not self.alive
            if self.log.count('"event": "worker.ready"') >= times:
                return True
            if ended:
                raise RuntimeError(f"the worker ended with {self.process.returncode}:\n{self.log[-_TAIL:]}")
            return False

        await eventually(there, _READY_SECONDS, message=lambda: f"not ready {times} times:\n{self.log[-_TAIL:]}")
        return self

    def children(self) -> list[psutil.Process]:
        """The processes that run jobs for it."""
        return [child for child in psutil.Process(self.pid).children() if "workers.child" in " ".join(child.cmdline())]

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it without a word."""
        self.process.kill()
        self.process.wait()
        self._ledger.killed[self.pid] = time.monotonic()

    def freeze(self) -> None:
        """Stops its clock, as a suspended machine does."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self.send(signal.SIGCONT)

    async def ended(self, timeout: float = 30.0) -> int:
        """Waits until it has ended; its exit code."""
        await eventually(lambda: not self.alive, timeout, message=lambda: f"it still runs:\n{self.log[-_TAIL:]}")
        code: int = self.process.returncode
        return code


class Fleet:
    """The workers of one test, on one pair of servers."""

    def __init__(self, folder: Path, environment: Mapping[str, str], ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.workers: list[Worker] = []
        self.environment = {**_ALWAYS, **environment, LEDGER_VARIABLE: str(ledger.path)}

    def environ(self, *, short: bool = True, **settings: object) -> dict[str, str]:
        """The environment of a worker: `slots=1` is ERRANDER_SLOTS; `short` is whether with short leases."""
        given = {name if name.isupper() else f"ERRANDER_{name.upper()}": str(value) for name, value in settings.items()}
        return {**os.environ, **(SHORT if short else {}), **self.environment, **given}

    def start(
        self, *options: str, command: tuple[str, ...] = ERRANDER, short: bool = True, **settings: object
    ) -> Worker:
        """Starts a worker process."""
        log = self.folder / f"worker-{len(self.workers) + 1}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options],
                cwd=self.folder,
                env=self.environ(short=short, **settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, log, self.ledger)
        self.workers.append(worker)
        return worker

    async def ready(self, n: int = 1, /, **settings: object) -> list[Worker]:
        """Starts so many workers and waits until all are ready."""
        started = [self.start(**settings) for _ in range(n)]  # type: ignore[arg-type]  # settings are named alike
        for worker in started:
            await worker.ready()
        return started

    def run(self, *command: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end in a worker's environment."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ(**settings),  # type: ignore[arg-type]
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def close(self) -> None:
        """Ends whatever still runs, frozen or not, and shows what each said, for a test that failed."""
        for worker in self.workers:
            if worker.alive:
                worker.kill()
            print(f"--- {worker.log_file.name}, pid {worker.pid}, ended {worker.process.returncode}")
            print(worker.log[-_TAIL:])


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stops these processes and their children while the block runs."""
    stopped: list[psutil.Process] = []
    try:
        for pid in pids:
            parent = psutil.Process(pid)
            parent.suspend()  # first: it would start new children
            stopped.append(parent)
            for child in parent.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.suspend()
                    stopped.append(child)
        yield
    finally:
        for process in reversed(stopped):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


async def lasts(seconds: float) -> None:
    """Lets a fault last: what a test does *while* something is broken, never how it waits for a result."""
    await asyncio.sleep(seconds)
