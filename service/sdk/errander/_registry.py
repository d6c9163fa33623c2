"""The tasks a process knows, by name.

A registry is filled by `@task` as modules are imported. Importing a module again (a reload) replaces its tasks; two
different functions under one name are an error, because which of them ran would depend on the order of imports.
"""

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ._errors import DuplicateTask, UnknownTask

if TYPE_CHECKING:
    from ._task import Task

    AnyTask = Task[..., Any]


class Registry:
    """Tasks by name: `registry.get("demo.echo")`, `"demo.echo" in registry`, iteration over the tasks."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}

    def __repr__(self) -> str:
        return f"<Registry of {len(self._tasks)} tasks>"

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator["AnyTask"]:
        return iter(list(self._tasks.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __getitem__(self, name: str) -> "AnyTask":
        """The task of that name; raises `UnknownTask`, which is a `LookupError`."""
        found = self._tasks.get(name)
        if found is None:
            raise UnknownTask(name, difflib.get_close_matches(name, self._tasks, n=3))
        return found

    def get(self, name: str) -> "AnyTask | None":
        """The task of that name, or None."""
        return self._tasks.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._tasks)

    def add(self, task: "AnyTask") -> None:
        """Add a task, or replace the one that the same function made before.

        Raises `DuplicateTask` when another function has the name.
        """
        known = self._tasks.get(task.name)
        if known is not None and not _same_place(known, task):
            raise DuplicateTask(task.name, _place(known), _place(task))
        self._tasks[task.name] = task

    def remove(self, name: str) -> None:
        """Forget a task; nothing happens if there is none of that name."""
        self._tasks.pop(name, None)

    def clear(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()


registry: Final = Registry()
"""Where `@task` adds to unless told otherwise, and where a worker looks."""


def _same_place(one: "AnyTask", other: "AnyTask") -> bool:
    """Whether both are the same function: by module, or by file, which `python -m` imports under two names."""
    if one.fn.__qualname__ != other.fn.__qualname__:
        return False
    return one.fn.__module__ == other.fn.__module__ or one.fn.__code__.co_filename == other.fn.__code__.co_filename


def _place(task: "AnyTask") -> str:
    return f"{task.fn.__module__}:{task.fn.__qualname__} (line {task.fn.__code__.co_firstlineno})"
