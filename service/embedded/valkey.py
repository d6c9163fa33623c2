"""An embedded Valkey: the real server, its append-only file in a folder of yours."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL, SIGTERM

from service.embedded.binaries import Binaries, reachable, valkey_binaries
from service.embedded.server import LOOPBACK, EmbeddedServer, recorded_pid

_PING_SECONDS = 0.5

_OPTIONS: Mapping[str, str] = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    # Hints may be lost, but never silently thrown out for want of memory.
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    # The title would hide the configuration file's name, by which a leftover is known.
    "set-proc-title": "no",
}


class EmbeddedValkey(EmbeddedServer):
    """Valkey, persistent by its append-only file, behind a password.

    `folder` is its own (created if missing). `port` None takes the port of the last run, or any free one.
    `options` are configuration directives over the defaults, `{"databases": "64"}` for one.
    """

    name = "valkey-server"
    stop_steps = ((SIGTERM, 10.0), (SIGKILL, 5.0))

    def __init__(self, folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port)
        self._options = {**_OPTIONS, **(options or {})}
        self._binaries: Binaries | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        if self._binaries is None:
            raise RuntimeError(f"{self.name} is not prepared")
        # The port stands in the command line too, for whoever reads `ps`.
        return (str(self._binaries.program(self.name)), str(self._configuration), "--port", str(self.port))

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The address of a logical database."""
        return f"redis://:{self._secret()}@{LOOPBACK}:{self.port}/{database}"

    def is_ready(self, pid: int) -> bool:
        if recorded_pid(self._pid_file) != pid:
            return False
        try:
            with socket.create_connection((LOOPBACK, self.port), _PING_SECONDS) as connection:
                connection.sendall(f"AUTH {self._secret()}\r\nPING\r\n".encode())
                answer = b""
                # Two replies; while it still loads its file the second is an error.
                while answer.count(b"\r\n") < 2 and (piece := connection.recv(256)):
                    answer += piece
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    @property
    def _configuration(self) -> Path:
        return self.home / "valkey.conf"

    @property
    def _pid_file(self) -> Path:
        return self.home / "valkey.pid"

    def _prepare(self) -> None:
        self._binaries = reachable(valkey_binaries(), self.name, self.account, self.home)
        data = self.home / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        self._give(data)
        settings = {**self._options, "dir": f'"{data}"', "pidfile": f'"{self._pid_file}"'}
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        descriptor = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines([*lines, f"requirepass {self._secret()}\n"])
        self._give(self._configuration)

    def _recorded_pid(self) -> int | None:
        return recorded_pid(self._pid_file)

    def _marks(self) -> tuple[str, str]:
        return self.name, f"{self._configuration} "
