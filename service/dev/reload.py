"""Notices that a task module was saved. Watches source, never imports it."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Iterable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

_SKIPPED = {"node_modules", "site-packages", "__pycache__", "dist", "build"}


def watched_folders(tasks: Sequence[str], folder: Path, search_path: Sequence[str], data_dir: Path) -> list[Path]:
    """The folders to watch with all below them: source folders of `folder`, and task packages found elsewhere.

    Left out: what is hidden, virtual environments, installed packages, the data folder.
    """
    found = [child for child in sorted(folder.iterdir()) if _is_source(child) and child != data_dir]
    for task in tasks:
        with contextlib.suppress(ImportError, ValueError):
            spec = PathFinder.find_spec(task.partition(".")[0], list(search_path))
            for location in (spec.submodule_search_locations or ()) if spec is not None else ():
                path = Path(location)
                if "site-packages" not in path.parts and path.is_dir() and path not in found:
                    found.append(path)
    return found


class Saves:
    """The Python files that are saved, a batch a save, from the moment this is made on.

    `folder` is watched without what lies below it, each of `deep` with it. Make and close it inside one event loop.
    Raises ImportError where the library that watches is not installed.
    """

    def __init__(self, folder: Path, deep: Sequence[Path], data_dir: Path) -> None:
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415  # an extra of `errander dev` alone

        wanted = PythonFilter(ignore_paths=[data_dir])
        watched = [awatch(folder, watch_filter=wanted, recursive=False)]
        if deep:
            watched.append(awatch(*deep, watch_filter=wanted, recursive=True))
        self._batches: asyncio.Queue[list[Path] | Exception] = asyncio.Queue()
        self._watchers = [asyncio.create_task(self._watch(changes)) for changes in watched]

    async def next(self) -> list[Path]:
        """Wait for a save; saves that came together are one. Raises OSError when watching is not possible."""
        found: set[Path] = set()
        while not found or not self._batches.empty():
            batch = await self._batches.get()
            if isinstance(batch, Exception):
                raise OSError(str(batch)) from batch
            found.update(batch)
        return sorted(found)

    async def close(self) -> None:
        """Stop watching."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _watch(self, changes: AsyncIterable[Iterable[tuple[object, str]]]) -> None:
        try:
            async for batch in changes:
                self._batches.put_nowait([Path(path) for _, path in batch])
        except (OSError, RuntimeError) as error:
            self._batches.put_nowait(error)


def _is_source(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith(".") or path.name in _SKIPPED or (path / "pyvenv.cfg").exists():
        return False
    return next(path.glob("*.py"), None) is not None or next(path.glob("*/*.py"), None) is not None
