"""The data folder of `errander dev`: who may use it, what lies in it, and the file that other shells read.

<data-dir>/postgres, valkey   the servers' files
<data-dir>/logs/<part>.log    what each part said
<data-dir>/run                records of running parts
<data-dir>/env                addresses for a worker or a client in another shell, mode 0600
<data-dir>/lock               held while it runs
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.dev.options import DevError
from service.embedded import remove
from service.supervise import end_leftovers


class DataFolder:
    """The data folder, by absolute path. Nothing is made before `held`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.postgres = self.path / "postgres"
        self.valkey = self.path / "valkey"
        self.logs = self.path / "logs"
        self.records = self.path / "run"
        self.env = self.path / "env"

    @contextlib.contextmanager
    def held(self, *, fresh: bool) -> Iterator[list[str]]:
        """Keep every other `errander dev` out; yields the parts that a killed one had left and that were ended.

        `fresh` removes what earlier runs left here, and nothing else that may lie in the folder. Raises DevError
        when the folder is in use or cannot be used.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise DevError(f"cannot use {self.path}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise DevError(f"errander dev already runs in {self.path} (process {lock.read().strip()})") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            # The lock goes with the process, however it ends: what is recorded here is a leftover.
            self.records.mkdir(exist_ok=True)
            ended = end_leftovers(self.records)
            if fresh:
                self._wipe()
            self.records.mkdir(exist_ok=True)
            (self.path / ".gitignore").write_text("*\n", encoding="ascii")
            yield ended

    def write_env(self, values: Mapping[str, str]) -> None:
        """Write the env file, one `NAME=value` a line, readable by its owner only; readers never see half of it."""
        new = self.env.with_name(f"env.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())
        new.replace(self.env)

    def log(self, part: str) -> Path:
        """The log file of a part."""
        return self.logs / f"{part}.log"

    def _wipe(self) -> None:
        for server in (self.postgres, self.valkey):
            remove(server)
        for folder in (self.logs, self.records):
            shutil.rmtree(folder, ignore_errors=True)
        self.env.unlink(missing_ok=True)
