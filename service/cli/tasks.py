"""`errander tasks announce`: the catalogue, filled in a deploy step before any worker runs."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from service.cli.refusing import refuse, without_database
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.settings import CatalogueSettings


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser("tasks", help="the catalogue of tasks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    announce = actions.add_parser(
        "announce",
        help="put the tasks of ERRANDER_TASKS into the catalogue",
        description="Imports ERRANDER_TASKS and the built-in tasks and announces them in DATABASE_URL, so that their "
        "jobs are accepted before a worker runs.",
    )
    announce.set_defaults(func=main)


def main(_args: argparse.Namespace) -> int:
    """Runs the command. Exit code 5: PostgreSQL is out of reach, or its schema is behind."""
    wrong = shadowed()
    if wrong:
        return refuse("tasks announce", wrong)
    from db.errors import DatabaseError  # noqa: PLC0415 - `errander --help` must not pay for it
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from errander import AuthoringError  # noqa: PLC0415
    from service.settings import CatalogueSettings  # noqa: PLC0415

    try:
        settings = read(CatalogueSettings)
    except SettingsRefusedError as error:
        return refuse("tasks announce", error.lines)
    try:
        names = asyncio.run(_announce(settings))
    except AuthoringError as error:
        return refuse("tasks announce", [str(error)])
    except DatabaseError as error:
        return without_database("tasks announce", settings.database_url.get_secret_value(), error)
    print(f"announced {len(names)} {'task' if len(names) == 1 else 'tasks'}: {', '.join(names)}")
    return 0


async def _announce(settings: "CatalogueSettings") -> list[str]:
    from db.engine import Database  # noqa: PLC0415
    from workers.catalogue import announce, load  # noqa: PLC0415

    registry = load(settings.tasks, settings.builtin_tasks)
    url = settings.database_url.get_secret_value()
    async with await Database.open(url, schema=settings.db_schema, size=1) as database:
        await announce(database.link, registry)
    return sorted(task.name for task in registry)
