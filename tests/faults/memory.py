"""Less memory for a process than it asks for: a control group whose owner the kernel kills, or a limit that refuses."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_GROUPS = Path("/sys/fs/cgroup")
_EMPTY_SECONDS = 10.0

Wrap = Callable[..., tuple[str, ...]]
"""Makes a command run under the limit, as the same process."""


@contextlib.contextmanager
def killed_above(megabytes: int) -> Iterator[Wrap]:
    """All processes of the wrapped commands together: the kernel kills one of them when they take more.

    Skips the test, with the reason, where no control group can be made.
    """
    try:
        group = _made(megabytes)
    except OSError as error:
        pytest.skip(f"a kill for want of memory was NOT tried: no control group can be made here ({error})")
    script = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
    try:
        yield lambda *command: ("/bin/sh", "-c", script, str(group), *command)
    finally:
        _removed(group)


def _made(megabytes: int) -> Path:
    first = _GROUPS / "memory"  # version 1 of control groups; in version 2 there is one tree for everything
    base, limit = (first, "memory.limit_in_bytes") if first.is_dir() else (_GROUPS, "memory.max")
    group = base / f"errander-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(megabytes * 2**20))
    except OSError:
        group.rmdir()
        raise
    return group


def _removed(group: Path) -> None:
    deadline = time.monotonic() + _EMPTY_SECONDS
    while True:
        try:
            group.rmdir()
        except OSError:  # whoever was killed in it is still being taken away
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def refused_above(megabytes: int) -> Wrap:
    """Each process of the wrapped command: what it asks for beyond this is refused."""
    script = f'ulimit -v {megabytes * 1024} && exec "$@"'
    return lambda *command: ("/bin/sh", "-c", script, "sh", *command)
