"""Whether `service`, `workers` and `db` are this application's own.

The three names are common: a project may have a `db` folder of its own, and a distribution may bring a `workers`.
Whichever comes first on the path wins, and the server would run with somebody else's module, so it refuses to start.
"""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

PACKAGES = ("db", "service", "workers")
HOME = Path(__file__).resolve().parents[2]
"""The folder of this application: the one that holds the `service` package this file belongs to."""


def shadowed(
    packages: Iterable[str] = PACKAGES,
    *,
    home: Path = HOME,
    load: Callable[[str], ModuleType] = importlib.import_module,
) -> list[str]:
    """A line for each package that was imported from elsewhere, with the way out; empty where all is well."""
    lines = []
    for name in packages:
        try:
            module = load(name)
        except ImportError as error:
            lines.append(f"the package {name!r} of this application cannot be imported: {error}")
            continue
        folder = _folder(module)
        if folder != home / name:
            lines.append(
                f"the package {name!r} was imported from {folder or 'nowhere'}, not from {home / name}: another "
                f"folder or an installed distribution has the same name. Rename it, start from another folder, or put "
                f"{home} first on PYTHONPATH"
            )
    return lines


def _folder(module: ModuleType) -> Path | None:
    if module.__file__ is not None:
        return Path(module.__file__).resolve().parent
    # a folder without __init__.py, such as somebody's `db/`, is a namespace package
    found = next(iter(getattr(module, "__path__", ())), None)
    return None if found is None else Path(found).resolve()
