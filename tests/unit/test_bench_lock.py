"""The lock of the benchmarks: installing it beside the other one must change nothing."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCH, FULL = ROOT / "tests/benchmarks/requirements.lock", ROOT / "requirements.lock"


def pins(path: Path) -> set[str]:
    """Every `name==version`, markers left out."""
    return set(re.findall(r"^([a-z0-9._-]+==[^\s;\\]+)", path.read_text(), re.MULTILINE))


def names(path: Path) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(path)}


def test_packages_of_both_locks_are_the_same_versions() -> None:
    both = names(BENCH) & names(FULL)
    assert {"asyncpg", "arq"} <= both
    differing = {pin for pin in pins(BENCH) ^ pins(FULL) if pin.partition("==")[0] in both}
    assert differing == set()


def test_only_the_benchmarks_install_what_only_they_need() -> None:
    assert {"pgqueuer", "matplotlib"} <= names(BENCH) - names(FULL)


def test_every_pin_has_its_hashes_and_no_address() -> None:
    text = BENCH.read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
