"""Nothing that is shipped can turn bytes into objects of any other kind than data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, shown, sources, tree

LOADERS = {
    *("pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "copyreg", "dill", "cloudpickle"),
    *("jsonpickle", "joblib", "yaml", "ruamel", "multiprocessing"),
}
"""Modules that make objects of what they read; `multiprocessing` unpickles what comes through its connections."""
CALLS = {"eval", "exec", "compile"}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The top-level names of what a module imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], node.lineno


def test_no_module_imports_what_unpickles() -> None:
    found = [f"{shown(path)}:{line} {name}" for path in sources() for name, line in imported(path) if name in LOADERS]
    assert found == []


def test_no_module_runs_text_as_code() -> None:
    found = [
        f"{shown(path)}:{node.lineno} {node.func.id}"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS
    ]
    assert found == []


@pytest.mark.parametrize("name", ["ArqRedis", "create_pool", "Job"])
def test_no_client_of_arq_is_made(name: str) -> None:
    """Its own clients unpickle results and calls unless they are told otherwise at every place."""
    used = [
        shown(path)
        for path in [ROOT / "workers/arq_worker.py"]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name | ast.Attribute) and name in (getattr(node, "id", ""), getattr(node, "attr", ""))
    ]
    assert used == []
