"""The source tree, as the architecture tests read it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("db", "workers", "service")
"""Folders of code that is shipped; the client stands in `service/sdk`."""

GENERATED = ("db/migrations/versions/", "service/vendor/")


@cache
def sources(*, tests: bool = False) -> tuple[Path, ...]:
    """Every Python file that is written by hand."""
    folders = [*SOURCES, "tests"] if tests else list(SOURCES)
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(path for path in found if not str(path.relative_to(ROOT)).startswith(GENERATED))


def shown(path: Path) -> str:
    """A file as a message names it."""
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> Iterator[tuple[str, Path]]:
    """Every module that is shipped, by the name it is imported under."""
    for path in sources():
        base = ROOT / "service/sdk" if path.is_relative_to(ROOT / "service/sdk") else ROOT
        parts = path.relative_to(base).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
