"""Importing the modules that define tasks, with errors that say which path failed and what to do about it."""

import importlib
from collections.abc import Iterable
from typing import Any

from ._errors import TaskImportError
from ._registry import Registry, registry
from ._task import Task


def load_tasks(paths: Iterable[str], into: Registry = registry) -> None:
    """Import each of `paths` (`a.b`, or `a.b:object`) so that its tasks are in the registry.

    Importing a module registers the tasks that it defines. `a.b:object` names one task, a `Registry`, or an iterable
    of tasks, for those that were registered elsewhere. Raises `TaskImportError` naming the path; `DuplicateTask`.
    """
    for path in paths:
        module_name, colon, attribute = path.strip().partition(":")
        module = _import(path, module_name)
        if colon:
            for task in _tasks_in(path, _attribute(path, module, attribute)):
                into.add(task)


def _import(path: str, name: str) -> Any:
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise TaskImportError(path, "write it as in an import statement: package.module, without .py and without /")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            message = (
                f"there is no module {error.name!r} on the import path; "
                "start in the folder that holds it, or name that folder in PYTHONPATH"
            )
            raise TaskImportError(path, message) from error
        raise TaskImportError(path, f"it imports {error.name!r}, which is not installed here") from error
    except TaskImportError:
        raise
    except Exception as error:  # a module is code of the author's and may raise anything while it is imported
        raise TaskImportError(path, f"importing it raised {type(error).__name__}: {error}") from error


def _attribute(path: str, module: Any, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise TaskImportError(path, f"{module.__name__} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _tasks_in(path: str, found: Any) -> list[Task[..., Any]]:
    if isinstance(found, Task):
        return [found]
    tasks = list(found) if isinstance(found, Iterable) else [found]
    for item in tasks:
        if not isinstance(item, Task):
            message = f"it is {type(item).__name__}; name a task, a Registry or a list of tasks"
            raise TaskImportError(path, message)
    return tasks
