"""Sizes, docstrings, sorted names: what a reader may count on in every file."""

import ast
import re

from tests.architecture.tree import ROOT, functions, shown, sources, tree

MOST_LINES = 400
"""A longer file has a second role in it."""
MOST_FUNCTION_LINES = 60

_PROMISE = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    files = [*sources(tests=True), *(ROOT / "db/sql").rglob("*.sql"), *(ROOT / "workers/lua").glob("*.lua")]
    long = {shown(path): lines for path in files if (lines := path.read_text().count("\n")) >= MOST_LINES}
    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{shown(path)}:{function.lineno} {function.name}": length
        for path in sources()
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MOST_FUNCTION_LINES
    }
    assert long == {}


def test_every_module_says_what_it_owns() -> None:
    silent = [shown(path) for path in sources() if path.name != "__init__.py" and not ast.get_docstring(tree(path))]
    assert silent == []


def test_every_package_with_code_says_what_it_owns() -> None:
    silent = [
        shown(path)
        for path in sources()
        if path.name == "__init__.py" and path.parent.parent == ROOT and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    found = []
    for path in [*sources(tests=True), *(ROOT / "db/sql").rglob("*.sql"), *(ROOT / "workers/lua").glob("*.lua")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if _PROMISE.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()}")
    assert found == []


def _kind(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, each by name: the order that the linter writes."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_exported_names_are_sorted_and_said_once() -> None:
    for path in sources(tests=True):
        for node in tree(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                assert isinstance(node, ast.Assign)
                names = ast.literal_eval(node.value)
                assert names == sorted(names, key=_kind), shown(path)
                assert len(set(names)) == len(names), shown(path)


def test_no_file_is_named_after_nothing() -> None:
    named = {"utils", "util", "helpers", "helper", "common", "misc", "base_utils"}
    assert [shown(path) for path in sources(tests=True) if path.stem in named or path.parent.name in named] == []


def test_no_except_is_bare() -> None:
    bare = [
        f"{shown(path)}:{node.lineno}"
        for path in sources(tests=True)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []
