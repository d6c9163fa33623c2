"""What both embedded servers share: prepare, start, wait, stop, and end what an earlier launcher left running."""

import contextlib
import os
import secrets
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Self

from service.embedded.errors import ServerStartError
from service.embedded.home import server_account, settle
from service.supervise import Account, free_port, last_lines, port_taken, spawn
from service.supervise.identity import command_line, end_process

_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
_LOG_LINES = 15
LOOPBACK = "127.0.0.1"


class EmbeddedServer(ABC):
    """A server on a loopback port whose files lie in one folder and are kept between runs.

    Either `start` and `stop` it (blocking; a context manager too), or `prepare` it and run `argv` as `account`
    yourself, ready once `is_ready(pid)` says so. Not for several threads at once.
    """

    name: str
    """The program, as a message calls it."""
    stop_steps: tuple[tuple[Signals, float], ...]
    """Signals from the clean stop to the last, and the seconds each is given."""

    def __init__(self, folder: Path, port: int | None) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        self._asked_port = port
        self._port: int | None = None
        self._account: Account | None = None
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def argv(self) -> tuple[str, ...]:
        """The command line; known once prepared."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address, password included; known once prepared."""

    @property
    def account(self) -> Account | None:
        """The user to run it as; None: the present one. Known once prepared."""
        return self._account

    @property
    def home(self) -> Path:
        """The real folder of its files. Known once prepared."""
        if self._home is None:
            raise RuntimeError(f"{self.name} is not prepared")
        return self._home

    @property
    def port(self) -> int:
        """The port: the one asked for, else the one of the last run if it is free, else any free one."""
        if self._port is None:
            raise RuntimeError(f"{self.name} is not prepared")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process that `start` started; None when it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def env(self) -> dict[str, str]:
        """The environment to run it in: this one, without what would steer it from outside."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}

    def prepare(self) -> None:
        """Make everything that starting needs; end a server that an earlier launcher left in this folder.

        Raises EmbeddedError.
        """
        self._account = server_account()
        self._home = settle(self.folder, self._account)
        self._prepare()
        self.end_leftover()
        self._port = self._choose_port()

    def end_leftover(self) -> bool:
        """End a server that runs on these files; True if there was one. Needs `prepare` to have been called once."""
        pid = self._recorded_pid()
        if pid is None or not self._is_ours(pid):
            return False
        end_process(pid, self.stop_steps, ours=lambda: self._is_ours(pid))
        return True

    @abstractmethod
    def is_ready(self, pid: int) -> bool:
        """Whether the process `pid`, running `argv`, takes connections. Returns at once."""

    def start(self, *, timeout: float = _START_SECONDS) -> Self:
        """Prepare and start it, return when it takes connections. Raises EmbeddedError."""
        if self.pid is not None:
            return self
        self.prepare()
        with self.log_file.open("ab") as log:
            self._process = spawn(
                self.argv,
                env=self.env,
                cwd=self.home,
                account=self._account,
                death_signal=self.stop_steps[0][0],
                output=log,
            )
        deadline = time.monotonic() + timeout
        while not self.is_ready(self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                reason = f"{self.name} did not start on port {self.port}; the end of {self.log_file}:"
                raise ServerStartError(reason, last_lines(self.log_file, _LOG_LINES))
            time.sleep(_POLL_SECONDS)
        return self

    def stop(self) -> None:
        """Stop it cleanly, harder where that takes too long. Nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        for signal, seconds in self.stop_steps:
            if process.poll() is None:
                process.send_signal(signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
        process.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the files; `home` and `account` are set."""

    @abstractmethod
    def _recorded_pid(self) -> int | None:
        """The process id that the server itself wrote beside its files."""

    @abstractmethod
    def _marks(self) -> tuple[str, str]:
        """Two words that only the command line of a server on these files holds."""

    def _is_ours(self, pid: int) -> bool:
        line = command_line(pid)
        return line is not None and all(mark in line for mark in self._marks())

    def _choose_port(self) -> int:
        if self._asked_port is not None:
            return self._asked_port
        memory = self.home / "port"
        with contextlib.suppress(OSError, ValueError):
            port = int(memory.read_text(encoding="ascii"))
            if not port_taken(port):
                return port
        port = free_port()
        memory.write_text(str(port), encoding="ascii")
        return port

    def _secret(self) -> str:
        """The server's password: made once, mode 0600, the server's user's own."""
        path = self.home / "password"
        if not path.exists() or not path.read_text(encoding="ascii"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(24))
            self._give(path)
        return path.read_text(encoding="ascii")

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)


def recorded_pid(path: Path) -> int | None:
    """The number in the first line of a pid file; None when there is none."""
    try:
        return int(path.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
