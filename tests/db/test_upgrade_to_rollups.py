"""The second migration on a database in use: what is there stays, and is counted."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from db import migrate, revisions, rollups, stats
from db.engine import Database
from db.lifecycle import JobStatus
from tests.db.scene import Scene

SCHEMAS = ["errander", "other_name"]


async def migrated(url: str, schema: str, revision: str, *, back: bool = False) -> None:
    """Takes a schema up to a revision, or back to it."""

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(url)

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(revisions.FOLDER))
        config.set_main_option("path_separator", "os")
        config.attributes.update(connection=connection, schema=schema)
        (command.downgrade if back else command.upgrade)(config, revision)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            await connection.run_sync(run)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_jobs_that_were_there_are_kept_and_counted(empty_database_url: str, schema: str) -> None:
    await migrated(empty_database_url, schema, "0001")
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(
            f"INSERT INTO {schema}.jobs (id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes,"
            " timeout, backoff, run_at, created_at, finished_at, failed_at)"
            " SELECT (lpad(to_hex((extract(epoch FROM m.at) * 1000)::bigint), 12, '0') || '7'"
            " || substr(md5(g::text), 1, 3) || '8' || substr(md5(g::text), 4, 15))::uuid,"
            " 'default', 't', 'default', 'default', CASE WHEN g % 4 = 0 THEN 'FAILED' ELSE 'SUCCESS' END, '{}', 3, 3, 60,"
            " '{}', m.at, m.at, m.at, CASE WHEN g % 4 = 0 THEN m.at END"
            " FROM generate_series(1, 40) g, LATERAL (SELECT now() - g * interval '12 hours' AS at) m"
        )
        before = await connection.fetch(f"SELECT * FROM {schema}.jobs ORDER BY id")
        await migrated(empty_database_url, schema, "0002")
        assert await connection.fetch(f"SELECT * FROM {schema}.jobs ORDER BY id") == before
        mark = await connection.fetchval(f"SELECT folded_until FROM {schema}.rollup_marks")
        assert mark < before[0]["finished_at"]
    finally:
        await connection.close()
    await migrate.upgrade(empty_database_url, schema)
    async with await Database.open(empty_database_url, schema=schema) as database:
        while True:
            folded = await rollups.fold(database, step=86_400.0, margin=0.0)
            assert folded is not None
            if folded.behind == 0:
                break
        found = await stats.ended(database.link)
    assert (found.totals[JobStatus.SUCCESS], found.totals[JobStatus.FAILED]) == (30, 10)
    assert found.whole


async def test_a_database_without_jobs_begins_to_count_now(scene: Scene) -> None:
    (row,) = await scene.ask("SELECT now() - folded_until AS ago FROM errander.rollup_marks")
    assert 0 <= row["ago"].total_seconds() < 3600


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_it_can_be_taken_back_and_leaves_the_first_schema(empty_database_url: str, schema: str) -> None:
    await migrated(empty_database_url, schema, "0001")
    first = await catalog(empty_database_url, schema)
    await migrated(empty_database_url, schema, "0002")
    assert await catalog(empty_database_url, schema) != first
    await migrated(empty_database_url, schema, "0001", back=True)
    assert await catalog(empty_database_url, schema) == first


async def catalog(url: str, schema: str) -> list[tuple[Any, ...]]:
    """Tables and indexes with their storage parameters."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT c.relname, c.relkind::text, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind IN ('r', 'i') ORDER BY c.relname",
            schema,
        )
    finally:
        await connection.close()
    return [(row["relname"], row["relkind"], sorted(row["reloptions"] or ())) for row in rows]
