"""`errander migrate`: the schema and the built-in tasks, brought up to date."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from service.cli.refusing import refuse, without_database
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.settings import CatalogueSettings


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "migrate",
        help="bring the database's schema up to date",
        description="Migrates the schema in DATABASE_URL, sets the limits of its role, announces the built-in tasks.",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a migration is needed")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Runs the command. Exit code 1: not up to date (`--check`); 5: PostgreSQL is out of reach."""
    wrong = shadowed()
    if wrong:
        return refuse("migrate", wrong)
    from db.errors import DatabaseError  # noqa: PLC0415 - `errander --help` must not pay for it
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from errander import TaskImportError  # noqa: PLC0415
    from service.migrating import bring_up  # noqa: PLC0415
    from service.settings import CatalogueSettings  # noqa: PLC0415
    from workers import logs  # noqa: PLC0415

    try:
        settings = read(CatalogueSettings)
    except SettingsRefusedError as error:
        return refuse("migrate", error.lines)
    logs.set_up(None, "warning")
    try:
        if args.check:
            return asyncio.run(_check(settings))
        asyncio.run(bring_up(settings))
    except TaskImportError as error:
        return refuse("migrate", [str(error)])
    except DatabaseError as error:
        return without_database("migrate", settings.database_url.get_secret_value(), error)
    print("the schema is up to date")
    return 0


async def _check(settings: "CatalogueSettings") -> int:
    from db import revisions  # noqa: PLC0415
    from db.engine import Database  # noqa: PLC0415

    url = settings.database_url.get_secret_value()
    async with await Database.open(url, schema=settings.db_schema, size=1) as database:
        if await revisions.is_current(database.link):
            print("the schema is up to date")
            return 0
        found = await revisions.current(database.link)
        print(f"the schema is at {found or 'nothing'}, this version needs {revisions.head()}: run `errander migrate`")
        return 1
