"""Bringing the schema and the catalogue of built-in tasks up to date: `errander migrate`, and `ERRANDER_MIGRATE=auto`."""

import asyncio

import structlog

from db.engine import Database
from db.errors import DatabaseError
from service.settings import CatalogueSettings
from workers.catalogue import announce_builtin

_log = structlog.get_logger("errander.migrate")

_PAUSE = 1.0
"""Seconds between tries while PostgreSQL is away."""


async def bring_up(settings: CatalogueSettings) -> None:
    """Migrates, then announces the built-in tasks. Raises the errors of `db.errors`."""
    url = settings.database_url.get_secret_value()
    from db.migrate import upgrade  # noqa: PLC0415 - only who migrates pays for alembic

    await upgrade(url, settings.db_schema)
    async with await Database.open(url, schema=settings.db_schema, size=1) as database:
        await announce_builtin(database.link, settings.builtin_tasks)


async def bring_up_when_possible(settings: CatalogueSettings) -> None:
    """The same, tried until it succeeds: the API answers 503 meanwhile."""
    while True:
        try:
            await bring_up(settings)
        except DatabaseError as error:
            _log.warning("migrate.waiting", error=str(error))
            await asyncio.sleep(_PAUSE)
        except Exception:  # nobody waits for this task: what ends it unheard would leave the API at 503 without a word
            _log.exception("migrate.broken")
            await asyncio.sleep(_PAUSE)
        else:
            _log.info("migrate.done")
            return
