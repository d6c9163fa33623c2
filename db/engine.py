"""Doors to PostgreSQL.

`Link` is the hot door: named statements, prepared by the driver, over connections of its own. `Database` opens links
and, for everything that is composed (lists, filters, the ORM), an SQLAlchemy engine on the same driver. No session
state is kept on a connection, so all of it works through PgBouncer in transaction mode; limits on the server's side
are settings of the role (`db/roles.py`), and the client's own limit is longer than all of them, so that an unknown
outcome means a broken connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import statements
from db.errors import translated
from db.urls import postgres_dsn

CLIENT_TIMEOUT = 8.0
"""Seconds the client waits for an answer: above the server's statement timeout of 5 s."""

CONNECT_TIMEOUT = 5.0
"""Seconds for a new connection."""


async def _keep(_connection: Any) -> None:
    """Instead of asyncpg's reset: no session state is ever set, and the reset costs a round trip each time."""


@dataclass(frozen=True, slots=True)
class Link:
    """Named statements over one connection or a pool of them. Autocommit, unless inside `Database.begin`."""

    executor: asyncpg.Pool[Any] | asyncpg.Connection[Any] | PoolConnectionProxy[Any]
    schema: str

    async def fetch(self, name: str, /, **binds: Any) -> list[asyncpg.Record]:
        """Runs `db/sql/<name>.sql`. Raises the errors of `db.errors`."""
        statement = statements.load(name, self.schema)
        values = statement.values(binds)
        with translated():
            if not isinstance(self.executor, asyncpg.Pool):
                try:
                    return await self.executor.fetch(statement.sql, *values, timeout=CLIENT_TIMEOUT)
                except TimeoutError:
                    self.executor.terminate()  # so that the rollback does not wait for a dead link once more
                    raise
            async with self.executor.acquire(timeout=CLIENT_TIMEOUT) as connection:
                try:
                    return await connection.fetch(statement.sql, *values, timeout=CLIENT_TIMEOUT)
                except (asyncpg.InternalClientError, TimeoutError):
                    # It has lost step with its server, and the pool would lend it again; or its link is dead (the server
                    # gives up a statement earlier), and the driver would wait as long again to cancel what it asked.
                    connection.terminate()
                    raise

    async def row(self, name: str, /, **binds: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        rows = await self.fetch(name, **binds)
        return rows[0] if rows else None


class Database:
    """One process's connections. `async with await Database.open(url) as database:` closes them."""

    def __init__(self, dsn: str, schema: str, pool: asyncpg.Pool[Any]) -> None:
        self.dsn = dsn
        self.schema = schema
        self._pool = pool
        self._engine: AsyncEngine | None = None
        self.link = Link(pool, schema)

    @classmethod
    async def open(cls, url: str, *, schema: str = "errander", size: int = 4, ready: bool = True) -> Self:
        """Opens up to `size` connections, one at once (none with `ready=False`: then PostgreSQL may be away)."""
        dsn = postgres_dsn(url)
        with translated():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1 if ready else 0,
                max_size=size,
                timeout=CONNECT_TIMEOUT,
                command_timeout=CLIENT_TIMEOUT,
                max_inactive_connection_lifetime=60,
                reset=_keep,
            )
        return cls(dsn, schema, pool)

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy over the same driver, made on first use; tables are translated to the schema of the settings."""
        if self._engine is None:
            dsn = self.dsn

            async def connect() -> asyncpg.Connection[Any]:
                return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT, command_timeout=CLIENT_TIMEOUT)

            self._engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=connect,
                pool_size=5,
                max_overflow=5,
                pool_timeout=3,
                pool_pre_ping=True,
                hide_parameters=True,  # its errors would hold payloads and metadata that somebody filters by
                execution_options={"schema_translate_map": {"errander": self.schema}},
            )
        return self._engine

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[Link]:
        """A transaction over several statements; commits at the end of the block, rolls back on an error."""
        with translated():
            async with self._pool.acquire(timeout=CLIENT_TIMEOUT) as connection, connection.transaction():
                yield Link(connection, self.schema)

    async def close(self) -> None:
        """Ends all connections; gives statements in flight a moment."""
        if self._engine is not None:
            await self._engine.dispose()
        try:
            async with asyncio.timeout(2):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
