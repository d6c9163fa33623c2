"""Who may import whom, and what an import may do."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, modules

OUTSIDE = {"httpx", "pydantic", "pydantic_core"}
"""All that the client may import beside the standard library and itself."""


def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def imported(path: Path) -> Iterator[str]:
    """The top-level names of what a module imports, relative imports left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def test_the_client_needs_httpx_and_pydantic_only() -> None:
    allowed = OUTSIDE | {"errander"} | set(sys.stdlib_module_names)
    strange = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "service/sdk/errander").rglob("*.py")
        for name in imported(path)
        if name not in allowed
    }
    assert strange == set()


def test_the_life_cycle_stands_on_the_standard_library_alone() -> None:
    assert set(imported(ROOT / "db/lifecycle.py")) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", ["redis", "arq"])
def test_arq_and_redis_stay_behind_the_workers(package: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for folder in ("db", "service/sdk")
        for path in (ROOT / folder).rglob("*.py")
        if package in imported(path)
    }
    assert users == set()


def test_arq_is_known_to_one_file() -> None:
    users = {str(path.relative_to(ROOT)) for path in (ROOT / "workers").rglob("*.py") if "arq" in set(imported(path))}
    assert users == {"workers/arq_worker.py"}


_PROBE = """
import importlib, json, os, socket, sys

read, opened = set(), []
plain = os._Environ.__getitem__

def noted(self, name):
    if str(name).startswith(("ERRANDER_", "DATABASE_URL", "REDIS_URL")):
        read.add(f"{name} by {sys._getframe(1).f_code.co_filename}")
    return plain(self, name)

os._Environ.__getitem__ = noted
socket.socket.connect = socket.socket.connect_ex = lambda *a: opened.append(str(a[1:]))
for module in json.loads(sys.stdin.read()):
    importlib.import_module(module)
print(json.dumps([sorted(read), opened]))
"""


def test_importing_reads_no_environment_and_opens_no_socket() -> None:
    names = [name for name, _ in modules() if not name.startswith("db.migrations") and not name.endswith("__main__")]
    assert len(names) > 50
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROBE],
        input=json.dumps(names),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]


@pytest.mark.parametrize(
    ("module", "heavy"), [("workers", "arq"), ("workers.command", "alembic"), ("service.main", "alembic")]
)
def test_an_import_leaves_out_what_only_some_need(module: str, heavy: str) -> None:
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
