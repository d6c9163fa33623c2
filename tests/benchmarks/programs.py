"""The processes that are measured: started with nothing of the machine's settings, ended by pid, their logs kept."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Final

import psutil

from service.supervise import free_port, http_ready, spawn

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
TASKS: Final = "tests.benchmarks.tasks"

_READY_SECONDS = 60.0
_END_SECONDS = 30.0
_TAIL = 3_000

_OURS: Final[Mapping[str, str]] = {
    "ERRANDER_AUTH": "off",
    "ERRANDER_BUILTIN_TASKS": "demo",
    "ERRANDER_TASKS": TASKS,
    "ERRANDER_METRICS_PORT": "0",
    "ERRANDER_LOG_FORMAT": "json",
    "PYTHONUNBUFFERED": "1",
}


class Program:
    """One process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log_file = log
        self.port = 0
        self._psutil = psutil.Process(process.pid)

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.log_file.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def cpu(self) -> float:
        """Seconds of CPU it has used, its children included."""
        times = self._psutil.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in self._psutil.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                own = child.cpu_times()
                total += own.user + own.system
        return total

    def memory(self) -> float:
        """Megabytes (10⁶ bytes) of resident memory, its children included."""
        total = self._psutil.memory_info().rss
        for child in self._psutil.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += child.memory_info().rss
        return total / 1e6

    async def until(self, check: Callable[[], Awaitable[bool]], seconds: float = _READY_SECONDS) -> None:
        """Waits until `check` says so. Raises RuntimeError with the end of its log when it ends first, or at last."""
        deadline = time.monotonic() + seconds
        while not await check():
            if not self.alive or time.monotonic() > deadline:
                state = "is not ready" if self.alive else f"ended with {self.process.returncode}"
                raise RuntimeError(f"{self.name} {state}:\n{self.log[-_TAIL:]}")
            await asyncio.sleep(0.02)

    async def says(self, words: str, seconds: float = _READY_SECONDS) -> None:
        """Waits until its log has `words`."""

        async def said() -> bool:
            return words in self.log

        await self.until(said, seconds)

    async def ended(self, seconds: float = _END_SECONDS) -> int:
        """Waits until it has ended by itself; its exit code."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not end:\n{self.log[-_TAIL:]}")
            await asyncio.sleep(0.02)
        return code

    def kill(self) -> None:
        """Ends it without a word."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Asks it to end, and ends it where it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


class Programs:
    """Starts programs and ends all of them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[Program] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Program:
        """Starts one; it is told to end when this process dies, however that happens."""
        log = self._logs / f"{len(self._started) + 1:03}-{name}.log"
        outer = {
            key: value for key, value in os.environ.items() if not key.startswith(("ERRANDER_", "PGQUEUER_", "PG"))
        }
        with log.open("wb") as output:
            process = spawn(
                argv,
                env={**outer, "PYTHONPATH": str(ROOT), **environment},
                cwd=self._logs,
                death_signal=SIGTERM,
                output=output,
            )
        program = Program(name, process, log)
        self._started.append(program)
        return program

    async def worker(self, environment: Mapping[str, str], **settings: object) -> Program:
        """`errander worker` at its defaults, ready. `max_jobs=5` is ERRANDER_MAX_JOBS."""
        given = {f"ERRANDER_{name.upper()}": str(value) for name, value in settings.items()}
        program = self.start("worker", [str(BIN / "errander"), "worker"], {**_OURS, **environment, **given})
        await program.says('"event": "worker.ready"')
        return program

    async def api(self, environment: Mapping[str, str]) -> Program:
        """`errander api`, ready."""
        return await self._serving("api", [str(BIN / "errander"), "api", "--port"], environment)

    async def api_with_noop(self, environment: Mapping[str, str]) -> Program:
        """The same server with one more route, ready."""
        return await self._serving("api", [sys.executable, "-m", "tests.benchmarks.noop"], environment)

    async def _serving(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Program:
        port = free_port()
        program = self.start(name, [*argv, str(port)], {**_OURS, **environment})
        program.port = port
        ready = http_ready(port)
        await program.until(lambda: ready(program.process.pid))
        return program

    def end(self, *programs: Program) -> None:
        """Ends these: all are asked first."""
        for program in programs:
            if program.alive:
                program.process.terminate()
        for program in programs:
            program.end()

    def end_all(self) -> None:
        """Ends whatever still runs."""
        self.end(*self._started)
