"""Reading statements: binds, parts and the schema's name, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import statements
from db.errors import SettingsError
from db.statements import Statement


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of statements of the test's own."""
    (tmp_path / "parts").mkdir()
    monkeypatch.setattr(statements, "FOLDER", tmp_path)
    statements.load.cache_clear()
    yield tmp_path
    statements.load.cache_clear()


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.sql").write_text(text)


def test_a_name_is_one_bind_however_often_it_stands(folder: Path) -> None:
    write(folder, "s", "SELECT :b, CAST(:a AS int), :b::text FROM errander.jobs")
    statement = statements.load("s", "errander")
    assert statement.binds == ("b", "a")
    assert statement.sql == 'SELECT $1, CAST($2 AS int), $1::text FROM "errander".jobs'
    assert statement.values({"a": 1, "b": 2}) == [2, 1]


def test_casts_times_and_comments_are_no_binds(folder: Path) -> None:
    write(folder, "s", "-- :not a bind, errander.neither\nSELECT x::uuid[], '12:30'::time, a.b:::c -- :nor this\n")
    assert statements.load("s", "errander").binds == ()


def test_parts_are_put_in_where_they_are_named(folder: Path) -> None:
    write(folder, "s", "SELECT 1 WHERE\n    -- @include p\n    AND :a")
    write(folder, "parts/p", "    -- what it is\n    x = :b\n")
    statement = statements.load("s", "errander")
    assert statement.binds == ("b", "a")
    assert [line.strip() for line in statement.sql.splitlines() if line.strip()] == [
        "SELECT 1 WHERE",
        "x = $1",
        "AND $2",
    ]


def test_a_part_that_is_missing_is_an_error(folder: Path) -> None:
    write(folder, "s", "-- @include nothing_here")
    with pytest.raises(FileNotFoundError):
        statements.load("s", "errander")


@pytest.mark.parametrize("schema", ["errander", "x", "other_1"])
def test_only_the_schemas_name_is_translated(folder: Path, schema: str) -> None:
    write(folder, "s", "SELECT errander.jobs.id, my_errander.x, 'errander' FROM errander.jobs")
    found = statements.load("s", schema).sql
    assert found == f"""SELECT "{schema}".jobs.id, my_errander.x, 'errander' FROM "{schema}".jobs"""


@pytest.mark.parametrize("schema", ['x"', "Upper", "", "a.b", "1a", "a" * 64])
def test_a_name_that_is_no_schema_is_refused(folder: Path, schema: str) -> None:
    write(folder, "s", "SELECT 1")
    with pytest.raises(SettingsError, match="ERRANDER_DB_SCHEMA"):
        statements.load("s", schema)


@pytest.mark.parametrize("given", [{}, {"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}])
def test_wrong_binds_are_refused_by_name(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"s\.sql: missing"):
        Statement("s", "SELECT $1, $2", ("a", "b")).values(given)


@pytest.mark.parametrize("name", statements.names())
def test_every_statement_can_be_loaded_and_mentions_no_search_path(name: str) -> None:
    statement = statements.load(name, "errander")
    assert statement.sql
    assert "@include" not in statement.sql
    assert all(f"${number}" in statement.sql for number in range(1, len(statement.binds) + 1))


def test_every_part_is_used() -> None:
    written = "\n".join((statements.FOLDER / f"{name}.sql").read_text() for name in statements.names())
    parts = {path.stem for path in (statements.FOLDER / "parts").glob("*.sql")}
    assert {part for part in parts if f"-- @include {part}\n" not in written} == set()
