"""Reads `db/sql/*.sql` and binds names to values.

A statement is a file. In it `:name` is a bind (cast where it stands: `CAST(:ids AS uuid[])`), `errander.` is the
schema, and a line `-- @include name` is replaced by `db/sql/parts/name.sql`, so that a predicate which several
statements must share is written once. Nothing else is replaced: there is no string formatting of SQL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from db.errors import SettingsError

FOLDER = Path(__file__).parent / "sql"
SCHEMA_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")

_INCLUDE = re.compile(r"^[ \t]*-- @include (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_BIND = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_SCHEMA = re.compile(r"\berrander\.")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as the driver takes it: `$1 …` for the binds, in the order of `binds`."""

    name: str
    sql: str
    binds: tuple[str, ...]

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the binds. Raises TypeError unless exactly the binds are given."""
        if len(given) != len(self.binds):
            self._refuse(given)
        try:
            return [given[name] for name in self.binds]
        except KeyError:
            self._refuse(given)
            raise

    def _refuse(self, given: Mapping[str, Any]) -> None:
        missing, extra = set(self.binds) - set(given), set(given) - set(self.binds)
        raise TypeError(f"{self.name}.sql: missing {sorted(missing)}, not known {sorted(extra)}")


def source(name: str) -> str:
    """The text of a statement with its parts included, schema and binds as written."""
    text = (FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda m: (FOLDER / "parts" / f"{m[1]}.sql").read_text(encoding="utf-8").rstrip("\n"), text)


def names() -> list[str]:
    """All statements, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.sql"))


@cache
def load(name: str, schema: str) -> Statement:
    """The statement `name` for the schema `schema`."""
    if not SCHEMA_NAME.match(schema):
        raise SettingsError(f"ERRANDER_DB_SCHEMA must match {SCHEMA_NAME.pattern}, not {schema!r}")
    body = _SCHEMA.sub(f'"{schema}".', _COMMENT.sub("", source(name)))
    binds: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in binds:
            binds.append(match[1])
        return f"${binds.index(match[1]) + 1}"

    return Statement(name, _BIND.sub(number, body).strip(), tuple(binds))
