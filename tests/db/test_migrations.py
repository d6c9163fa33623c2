"""The schema: migrated it equals the models, under any name, however often and by however many at once."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from db import migrate, revisions
from db.engine import Database
from db.errors import Unavailable
from db.models import Base
from db.roles import ROLE_SETTINGS, role_settings

SCHEMAS = ["errander", "other_name"]


def _differences(connection: Connection, schema: str) -> list[Any]:
    wanted = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        table.to_metadata(wanted, schema=schema)

    def ours(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name == schema
        return not (kind == "table" and name == "alembic_version")

    context = MigrationContext.configure(
        connection,
        opts={"include_schemas": True, "include_name": ours, "compare_type": True, "compare_server_default": True},
    )
    return list(compare_metadata(context, wanted))


async def differences(url: str, schema: str) -> list[Any]:
    async def connect() -> asyncpg.Connection[Any]:
        # alembic calls the schema that stands first in the search path by no name
        return await asyncpg.connect(url, server_settings={"search_path": "public"})

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_differences, schema)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_the_migrated_schema_equals_the_models(empty_database_url: str, schema: str) -> None:
    await migrate.upgrade(empty_database_url, schema)
    assert await differences(empty_database_url, schema) == []


async def test_the_comparison_would_see_a_difference(empty_database_url: str) -> None:
    await migrate.upgrade(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("DROP INDEX errander.ready_head; ALTER TABLE errander.jobs DROP COLUMN tags")
    await connection.close()
    kinds = {difference[0] for difference in await differences(empty_database_url, "errander")}
    assert kinds == {"add_index", "add_column"}


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_check_constraints_and_storage_settings_equal_the_models(empty_database_url: str, schema: str) -> None:
    # alembic compares neither
    await migrate.upgrade(empty_database_url, schema)
    connection = await asyncpg.connect(empty_database_url)
    try:
        checks = await connection.fetch(
            "SELECT c.conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace"
            " WHERE n.nspname = $1 AND c.contype = 'c'",
            schema,
        )
        options = await connection.fetch(
            "SELECT c.relname, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind = 'r' AND c.reloptions IS NOT NULL",
            schema,
        )
    finally:
        await connection.close()
    tables = Base.metadata.sorted_tables
    wanted = {
        str(check.name) for table in tables for check in table.constraints if type(check).__name__ == "CheckConstraint"
    }
    assert {row["conname"] for row in checks} == wanted
    assert {row["relname"]: set(row["reloptions"]) for row in options} == {
        table.name: {f"{name}={value}" for name, value in table.dialect_options["postgresql"]["with"].items()}
        for table in tables
        if table.dialect_options["postgresql"]["with"]
    }


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_nothing_is_made_outside_its_schema(empty_database_url: str, schema: str) -> None:
    await migrate.upgrade(empty_database_url, schema)
    connection = await asyncpg.connect(empty_database_url)
    rows = await connection.fetch(
        "SELECT DISTINCT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    await connection.close()
    assert [row["nspname"] for row in rows] == [schema]


async def test_migrating_again_is_harmless(empty_database_url: str) -> None:
    await migrate.upgrade(empty_database_url)
    async with await Database.open(empty_database_url) as database:
        await database.link.executor.execute(
            "INSERT INTO errander.task_pauses (task, reason) VALUES ('kept', 'as it was')"
        )
        await migrate.upgrade(empty_database_url)
        assert await database.link.executor.fetchval("SELECT reason FROM errander.task_pauses") == "as it was"
        assert await revisions.is_current(database.link)


def test_the_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory(str(revisions.FOLDER))
    assert revisions.head() == scripts.get_current_head()
    assert revisions.known() == sorted(script.revision for script in scripts.walk_revisions())


async def test_a_role_that_may_not_migrate_is_told_so_by_an_error_of_ours(empty_database_url: str) -> None:
    role, owner = f"plain_{secrets.token_hex(6)}", await asyncpg.connect(empty_database_url)
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
    try:
        parts = urlsplit(empty_database_url)
        plain = parts._replace(netloc=f"{role}:plain@{parts.hostname}:{parts.port}").geturl()
        with pytest.raises(Unavailable, match="permission denied for database"):
            await migrate.upgrade(plain)
    finally:
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()


async def test_two_may_migrate_at_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(3)))
    async with await Database.open(empty_database_url) as database:
        assert await revisions.current(database.link) == revisions.head()


async def test_two_schemas_live_in_one_database(empty_database_url: str) -> None:
    for schema in SCHEMAS:
        await migrate.upgrade(empty_database_url, schema)
    async with await Database.open(empty_database_url, schema=SCHEMAS[1]) as database:
        await database.link.fetch("pause_queue", pool="default", priority="low", reason=None)
        counts = [
            await database.link.executor.fetchval(f"SELECT count(*) FROM {schema}.queue_pauses") for schema in SCHEMAS
        ]
    assert counts == [0, 1]


async def test_a_database_without_the_schema_and_one_that_is_newer_are_told_apart(empty_database_url: str) -> None:
    async with await Database.open(empty_database_url) as database:
        assert not await revisions.is_current(database.link)
        await migrate.upgrade(empty_database_url)
        assert await revisions.is_current(database.link)
        await database.link.executor.execute("UPDATE errander.alembic_version SET version_num = '9999'")
        assert await revisions.is_current(database.link), "a newer release migrated; the one before goes on"


@pytest.mark.parametrize("name", ['bad"name', "Upper", "", "1st", "a" * 64])
async def test_a_name_that_is_none_is_refused_before_anything_happens(empty_database_url: str, name: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        await migrate.upgrade(empty_database_url, name)


async def test_a_schema_that_a_newer_release_has_migrated_is_left_alone(empty_database_url: str) -> None:
    await migrate.upgrade(empty_database_url)
    async with await Database.open(empty_database_url) as database:
        await database.link.executor.execute("UPDATE errander.alembic_version SET version_num = '9999'")
        await migrate.upgrade(empty_database_url)
        assert await revisions.current(database.link) == "9999"
        assert await revisions.is_current(database.link)


def test_an_older_server_is_given_only_the_limits_that_it_knows() -> None:
    assert role_settings(180_000) == ROLE_SETTINGS
    assert set(ROLE_SETTINGS) - set(role_settings(160_004)) == {"transaction_timeout"}


async def test_the_limits_of_the_role_hold_on_a_new_connection(empty_database_url: str) -> None:
    await migrate.upgrade(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    try:
        for name, value in ROLE_SETTINGS.items():
            assert await connection.fetchval("SELECT current_setting($1)", name) == value
    finally:
        await connection.close()


async def test_it_can_be_taken_back(empty_database_url: str) -> None:
    await migrate.upgrade(empty_database_url)

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(empty_database_url)

    def down(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(revisions.FOLDER))
        config.set_main_option("path_separator", "os")
        config.attributes.update(connection=connection, schema="errander")
        command.downgrade(config, "base")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(down)
            tables = await connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'errander'")
            assert tables.scalars().all() == ["alembic_version"]
    finally:
        await engine.dispose()
