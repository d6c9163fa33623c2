"""Somebody else's `db`, `service` or `workers` is noticed before it runs."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from service.cli.shadowing import HOME, shadowed


def test_our_own_packages_are_our_own() -> None:
    assert shadowed() == []


def test_a_package_from_elsewhere_is_named_with_the_way_out(tmp_path: Path) -> None:
    other = ModuleType("db")
    other.__file__ = str(tmp_path / "db" / "__init__.py")
    (line,) = shadowed(["db"], load=lambda _: other)
    assert str(tmp_path / "db") in line
    assert str(HOME / "db") in line
    assert "PYTHONPATH" in line


def test_a_folder_without_an_init_file_is_noticed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_db").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        (line,) = shadowed(["acme_db"], load=importlib.import_module)
    finally:
        sys.modules.pop("acme_db", None)
    assert str(tmp_path / "acme_db") in line


def test_a_package_that_cannot_be_imported_is_named() -> None:
    def broken(name: str) -> ModuleType:
        raise ImportError(f"no {name}")

    assert shadowed(["db"], load=broken) == ["the package 'db' of this application cannot be imported: no db"]
