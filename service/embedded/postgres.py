"""An embedded PostgreSQL: the real server, its cluster in a folder of yours."""

import contextlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT

from service.embedded.binaries import Binaries, postgres_binaries, reachable
from service.embedded.errors import EmbeddedError
from service.embedded.server import LOOPBACK, EmbeddedServer, recorded_pid
from service.supervise.identity import command_line

_USER = _DATABASE = "errander"
_MINUTES = 60.0
# Line of postmaster.pid that says how far the server is (src/include/utils/pidfile.h).
_STATUS_LINE = 8

# Durable like a production server, sized like a guest on a laptop.
_OPTIONS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # The head of a busy queue is full of dead rows within seconds.
    "autovacuum_naptime": "10s",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL with a database and a superuser `errander`.

    `folder` is its own (created if missing). `port` None takes the port of the last run, or any free one.
    `options` are server settings over the defaults, `{"fsync": "off"}` for one.
    """

    name = "postgres"
    # Fast shutdown, then immediate (recovers from its log at the next start), then none at all.
    stop_steps = ((SIGINT, 20.0), (SIGQUIT, 5.0), (SIGKILL, 5.0))

    def __init__(self, folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port)
        self._options = {**_OPTIONS, **(options or {})}
        self._binaries: Binaries | None = None

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.home / "data"

    @property
    def argv(self) -> tuple[str, ...]:
        options = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        return (str(self.program("postgres")), "-D", str(self.data), "-p", str(self.port), *options)

    @property
    def url(self) -> str:
        return self.url_of(_DATABASE)

    def url_of(self, database: str) -> str:
        """The address of another database of this server."""
        return f"postgresql://{_USER}:{self._secret()}@{LOOPBACK}:{self.port}/{database}"

    def program(self, name: str) -> Path:
        """The path of a program of the same version: `psql`, `pg_dump`, `pgbench`."""
        if self._binaries is None:
            self._binaries = postgres_binaries()
        return self._binaries.program(name)

    def is_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE - 1].strip() == "ready"

    def end_leftover(self) -> bool:
        ended = super().end_leftover()
        self._drop_stale_lock()
        return ended

    def _drop_stale_lock(self) -> None:
        """Remove a lock file whose process is gone.

        PostgreSQL takes any process under that id for its predecessor: one that is dead but not collected yet (in a
        container maybe never), or one that got the id after a restart of the machine. A server that still runs on
        these files is noticed by its shared memory all the same.
        """
        lock = self.data / "postmaster.pid"
        pid = recorded_pid(lock)
        if pid is not None and "postgres" not in (command_line(pid) or ""):
            lock.unlink(missing_ok=True)

    def _prepare(self) -> None:
        self._binaries = reachable(postgres_binaries(), "postgres", self.account, self.home)
        if self.data.exists():
            self._check_version()
        else:
            self._create_cluster()

    def _recorded_pid(self) -> int | None:
        return recorded_pid(self.data / "postmaster.pid")

    def _marks(self) -> tuple[str, str]:
        return "postgres", f"-D {self.data} "

    def _check_version(self) -> None:
        installed = self._run("postgres", "--version").split()[-1].split(".")[0]
        with contextlib.suppress(OSError):
            found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
            if found != installed:
                reason = f"{self.folder} was written by PostgreSQL {found}, this is {installed}"
                raise EmbeddedError(f"{reason}; start anew with --fresh, or dump it with the old version first")

    def _create_cluster(self) -> None:
        self._secret()
        # Made beside and moved, so that a start that was interrupted leaves nothing half made.
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        durable = self._options.get("fsync", "on") != "off"
        sync = [] if durable else ["--no-sync"]
        self._run(
            "initdb",
            *("-D", str(new), "-U", _USER, "--pwfile", str(self.home / "password"), "-E", "UTF8"),
            # Sorts and folds by Unicode code point, the same on every machine and version of its C library.
            *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--auth", "scram-sha-256", "--no-instructions", *sync),
        )
        single = ("--single", "-D", str(new), "-c", f"fsync={'on' if durable else 'off'}", "postgres")
        self._run("postgres", *single, stdin=f"CREATE DATABASE {_DATABASE};\n")
        new.rename(self.data)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        account = self.account
        done = subprocess.run(  # noqa: S603  # our own binary and arguments
            [self.program(program), *arguments],
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            cwd=self.home,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=5 * _MINUTES,
            check=False,
        )
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise EmbeddedError(f"{program} failed in {self.folder}: {words[-1] if words else 'it said nothing'}")
        return done.stdout.strip()
