"""`errander key create --local`: a key straight into PostgreSQL. Whoever reaches the database may make any."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from service.cli.refusing import refuse, without_database
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.settings import KeySettings

_COMMAND = "key create"
_LONGEST_NAME = 100


def create_local(args: argparse.Namespace) -> int:
    """Runs the command. Exit code 5: PostgreSQL is out of reach, or its schema is behind."""
    wrong = shadowed() or _wrong(args)
    if wrong:
        return refuse(_COMMAND, wrong)
    from db.errors import DatabaseError  # noqa: PLC0415 - `errander --help` must not pay for it
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from errander._cli._key import show_once  # noqa: PLC0415
    from service.settings import KeySettings  # noqa: PLC0415

    try:
        settings = read(KeySettings)
    except SettingsRefusedError as error:
        return refuse(_COMMAND, error.lines)
    try:
        document = asyncio.run(_create(settings, args))
    except ValueError as error:
        return refuse(_COMMAND, [f"--scope: {error}"])
    except DatabaseError as error:
        return without_database(_COMMAND, settings.database_url.get_secret_value(), error)
    show_once(args, document)
    return 0


def _wrong(args: argparse.Namespace) -> list[str]:
    from service.auth.issuing import TASKS_FORM  # noqa: PLC0415
    from service.auth.tokens import TENANT_FORM  # noqa: PLC0415

    lines = []
    if not 0 < len(args.name) <= _LONGEST_NAME or not args.name.isprintable():
        lines.append(f"--name must be 1 to {_LONGEST_NAME} characters that can be printed")
    if args.tenant is not None and not TENANT_FORM.match(args.tenant):
        lines.append(f"--tenant must match {TENANT_FORM.pattern}")
    lines += [f"--task {task!r} is no name of a task" for task in args.tasks or () if not TASKS_FORM.match(task)]
    if args.expires_in is not None and args.expires_in <= 0:
        lines.append("--expires-in must be more than nothing")
    return lines


async def _create(settings: "KeySettings", args: argparse.Namespace) -> dict[str, Any]:
    from db.audit import Action, Kind  # noqa: PLC0415
    from db.engine import Database  # noqa: PLC0415
    from service import audit  # noqa: PLC0415
    from service.auth.issuing import Wish, granted, issue, key_document  # noqa: PLC0415
    from service.auth.principal import DEFAULT_TENANT  # noqa: PLC0415
    from service.settings import pepper_of  # noqa: PLC0415

    wish = Wish(
        tenant=args.tenant or DEFAULT_TENANT,
        name=args.name,
        scopes=args.scopes,
        by=audit.local_actor(),
        tasks=args.tasks,
        max_priority=args.max_priority,
        expires_in=args.expires_in,
    )
    url = settings.database_url.get_secret_value()
    async with await Database.open(url, schema=settings.db_schema, size=1) as database, database.begin() as link:
        record, text = await issue(link, pepper_of(settings), wish)
        await audit.record_local(
            link, Action.KEY_CREATE, Kind.KEY, record.id, tenant=record.tenant, after=granted(record)
        )
    return key_document(record) | {"key": text}
