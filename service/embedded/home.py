"""Whose files a server's are, and where they lie.

PostgreSQL refuses to run as root. Started by root, the servers run as `postgres` where that user exists, else as
`nobody`, and own their folders. Where that user cannot reach the folder asked for (a home folder of mode 0700),
the files lie under `/var/lib` and a symbolic link in the folder says so: nobody else's permissions are changed.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from service.embedded.errors import EmbeddedError
from service.supervise import Account

_CANDIDATES = ("postgres", "nobody")
_ELSEWHERE = Path("/var/lib")
_PREFIX = "errander-dev-"


def server_account() -> Account | None:
    """The user that the servers run as: None for the present one, unless that is root. Raises EmbeddedError."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def settle(folder: Path, account: Account | None) -> Path:
    """Make `folder`, or a place that stands in for it, and return the real path; the account owns it.

    Raises EmbeddedError when it belongs to somebody else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = folder.resolve(strict=True)
        if account is None:
            if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
                raise EmbeddedError(f"{folder} belongs to another user; remove it or take another --data-dir")
            return home
        if not _can_enter(home.parent, account):
            home = _stand_in(folder)
        _own(home, account)
    except OSError as error:
        raise EmbeddedError(f"cannot use {folder}: {error.strerror}") from error
    return home


def remove(folder: Path) -> None:
    """Remove the folder and what `settle` put elsewhere for it."""
    if folder.is_symlink():
        real = folder.resolve()
        folder.unlink()
        if real.parent == _ELSEWHERE and real.name.startswith(_PREFIX):
            shutil.rmtree(real, ignore_errors=True)
    elif folder.exists():
        shutil.rmtree(folder)


def _can_enter(folder: Path, account: Account) -> bool:
    done = subprocess.run(  # noqa: S603  # a fixed script, the path an argument of it
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _stand_in(folder: Path) -> Path:
    if any(folder.iterdir()):
        raise EmbeddedError(f"{folder} cannot be reached by the servers' user; remove it or take another --data-dir")
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_ELSEWHERE))
    folder.rmdir()
    folder.symlink_to(home)
    return home


def _own(home: Path, account: Account) -> None:
    if home.stat().st_uid == account.uid:
        return  # owned since its first start, everything in it too
    for root, folders, files in os.walk(home):
        for name in (*folders, *files):
            os.chown(Path(root) / name, account.uid, account.gid, follow_symlinks=False)
    os.chown(home, account.uid, account.gid)  # last: it says that the rest is done
