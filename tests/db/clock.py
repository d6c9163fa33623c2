"""The database's clock, in the test's hand: leases pass, moments come and keys grow old without waiting.

Statements call `now()` without a schema. In a database whose `search_path` names the schema `clock` before `pg_catalog`,
that is `clock.now()`, which answers what stands in a table; the statements stay as they are, in the test and elsewhere.
What a column has as its default was bound to the real clock when the table was made, so these defaults are bound anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
"""What the clock shows at first: far from the real time, so that a statement which asks that one is found out."""

_INSTALL = """
CREATE SCHEMA clock;
CREATE TABLE clock.hand (at timestamptz NOT NULL);
INSERT INTO clock.hand VALUES ('2030-01-01 00:00:00+00');
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT h.at FROM clock.hand h';
DO $$
DECLARE place record;
BEGIN
    FOR place IN
        SELECT c.table_name, c.column_name FROM information_schema.columns c
        WHERE c.table_schema = 'errander' AND c.column_default = 'now()'
    LOOP
        EXECUTE format('ALTER TABLE errander.%I ALTER %I SET DEFAULT clock.now()', place.table_name, place.column_name);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog', current_database());
END $$;
"""


async def install(url: str) -> None:
    """Gives the database a clock that stands still; for connections that are opened afterwards."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_INSTALL)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Clock:
    """Sets the clock of the database that `connection` leads to, for all its connections."""

    connection: asyncpg.Connection[Any]

    async def set(self, moment: datetime) -> None:
        """Makes it `moment`, for every statement that begins from here on."""
        await self.connection.execute("UPDATE clock.hand SET at = $1", moment)
