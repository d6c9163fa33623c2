"""`docs/configuration.md` against the settings themselves."""

import re
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from db.settings import DatabaseSettings
from service.settings import ApiSettings
from tests.architecture.tree import ROOT
from workers.settings import WorkerSettings

PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
ROWS = {
    name: (default.strip("`"), readers)
    for name, default, readers in re.findall(r"^\| `([A-Z_]+)` \| (\S+) \| ([A-Za-z, ]+) \|", PAGE, re.MULTILINE)
}
READERS: dict[str, type[DatabaseSettings]] = {"API": ApiSettings, "worker": WorkerSettings}


def written(value: Any) -> str:
    """A default as the page writes it."""
    if value in (None, (), "") or value is PydanticUndefined:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def defaults(settings: type[DatabaseSettings]) -> dict[str, str]:
    """Variable → default of one process."""
    return {str(field.validation_alias): written(field.default) for field in settings.model_fields.values()}


def test_every_variable_stands_there_with_who_reads_it() -> None:
    known = {reader: set(defaults(settings)) for reader, settings in READERS.items()}
    assert set(ROWS) == set.union(*known.values())
    for name, (_, readers) in ROWS.items():
        assert set(readers.split(", ")) == {reader for reader in READERS if name in known[reader]}, name


@pytest.mark.parametrize("reader", READERS)
def test_the_defaults_are_those_of_the_settings(reader: str) -> None:
    found = defaults(READERS[reader])
    assert {name: ROWS[name][0] for name in found} == found
