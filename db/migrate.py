"""Bringing the schema up to this version, with alembic, from code.

Two processes may do it at once: an advisory lock of the transaction lets one migrate and the other find it done. Whether
it is needed is asked in `db.revisions`.
"""

from __future__ import annotations

from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from db.engine import CONNECT_TIMEOUT
from db.errors import translated
from db.revisions import FOLDER, known
from db.roles import role_settings
from db.statements import SCHEMA_NAME
from db.urls import postgres_dsn

# Any number that no other application takes by chance: "errander" in hexadecimal ASCII, cut to 63 bits.
_LOCK = 0x657272616E646572 >> 1


async def upgrade(url: str, schema: str = "errander") -> None:
    """Creates the schema if it is missing, migrates it to the last revision, and sets the limits of the role.

    Leaves a schema alone that a newer release has migrated. Raises the errors of `db.errors`.
    """
    if not SCHEMA_NAME.match(schema):
        raise ValueError(schema)
    dsn = postgres_dsn(url)

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT, command_timeout=None)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        with translated():
            async with engine.begin() as connection:
                await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                await connection.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
                await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                limits = role_settings(int((await connection.exec_driver_sql("SHOW server_version_num")).scalar_one()))
                if "transaction_timeout" in limits:
                    await connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                if await connection.run_sync(_is_newer, schema):
                    return
                await connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
                await connection.run_sync(_run, schema)
                for name, value in limits.items():
                    await connection.exec_driver_sql(_role_setting(name, value))
    finally:
        await engine.dispose()


def _role_setting(name: str, value: str) -> str:
    # ALTER ROLE takes no expression for the database's name, so it is asked for inside a DO block.
    return (
        f"DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET {name} = %L', "
        f"current_database(), '{value}'); END $$"
    )


def _is_newer(connection: Connection, schema: str) -> bool:
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    return not set(context.get_current_heads()) <= set(known())


def _run(connection: Connection, schema: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    command.upgrade(config, "head")
