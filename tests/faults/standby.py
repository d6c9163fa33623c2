"""A server that takes over from another with what that one had a while ago, as an asynchronous standby does."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.embedded import EmbeddedPostgres
from tests.fixtures.servers import open_folder

_BACKUP_SECONDS = 60


@contextlib.contextmanager
def standby_of(primary: EmbeddedPostgres, options: Mapping[str, str]) -> Iterator[EmbeddedPostgres]:
    """A copy of `primary` as it is now, to be started when that is gone; what it commits from here on is missing.

    (A real standby that is promoted replays the same log to the same point. This one starts from a base backup, so that
    the point does not depend on how fast anything is.)
    """
    with open_folder(in_memory=True) as folder:
        copy = EmbeddedPostgres(folder / "postgres", options=options)
        copy.prepare()
        shutil.rmtree(copy.data)
        _back_up(primary, copy.data)
        if copy.account is not None:
            for path in (copy.data, *copy.data.rglob("*")):
                shutil.chown(path, copy.account.uid, copy.account.gid)
        try:
            yield copy
        finally:
            copy.stop()


def _back_up(primary: EmbeddedPostgres, target: Path) -> None:
    command = [str(primary.program("pg_basebackup")), "-D", str(target), "-X", "stream", "-c", "fast", "--no-sync"]
    done = subprocess.run(
        [*command, "-d", primary.url], capture_output=True, text=True, timeout=_BACKUP_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
