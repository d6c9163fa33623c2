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
_LONGEST_PAUSE = 30.0
"""The same in the end where a fault of ours, which seldom goes away by itself, comes again and again."""


async def bring_up(settings: CatalogueSettings) -> None:
    """Migrates, then announces the built-in tasks. Raises the errors of `db.errors`."""
    url = settings.database_url.get_secret_value()
    from db.migrate import upgrade  # noqa: PLC0415 - only who migrates pays for alembic

    await upgrade(url, settings.db_schema)
    async with await Database.open(url, schema=settings.db_schema, size=1) as database:
        await announce_builtin(database.link, settings.builtin_tasks)


async def bring_up_when_possible(settings: CatalogueSettings) -> None:
    """The same, tried until it succeeds: the API answers 503 meanwhile."""
    told: set[str] = set()
    pause = _PAUSE
    while True:
        try:
            await bring_up(settings)
        except DatabaseError as error:
            _log.warning("migrate.waiting", error=str(error))
            await asyncio.sleep(_PAUSE)
        except Exception as error:  # nobody waits for this task: it would leave the API at 503 without a word
            text = f"{type(error).__name__}: {error}"
            if text in told:
                _log.warning("migrate.broken", error=text)
            else:
                told.add(text)
                _log.exception("migrate.broken")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            _log.info("migrate.done")
            return
