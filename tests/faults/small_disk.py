"""A file system that a test can fill up: a tmpfs of its own, where this process may mount one."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_PIECE = b"\0" * 65_536


class SmallDisk:
    """Mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leaves no space."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, _PIECE)
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Gives the space back."""
        self._filler.unlink()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A file system of that size. Skips the test, with the reason, where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="errander-test-disk-"))
    try:
        _mount(folder, megabytes)
        try:
            folder.chmod(0o755)
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def _mount(folder: Path, megabytes: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk was NOT tried: there is no program `mount` here")
    if done.returncode != 0:
        pytest.skip(f"a full disk was NOT tried: this user may not mount a tmpfs ({done.stderr.strip()})")
