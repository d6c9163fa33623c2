"""`errander fsck --full` and `--repair`: every row looked at, and what can be mended mended, on the stores themselves."""

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

from service.cli.refusing import UNAVAILABLE, refuse, without_database
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.checks.consistency import FsckSettings, Report

_PROGRESS_SECONDS = 0.5


def check_local(args: argparse.Namespace) -> int:
    """Runs the command. Exit code 0: no errors are left, 1: some are, 2: refused, 5: it could not be checked."""
    wrong = shadowed()
    if wrong:
        return refuse("fsck", wrong)
    from db.errors import DatabaseError  # noqa: PLC0415 - `errander --help` must not pay for it
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from errander._cli._fsck import show  # noqa: PLC0415
    from service.checks.consistency import FsckSettings, document, repaired  # noqa: PLC0415
    from workers import logs  # noqa: PLC0415

    try:
        settings = read(FsckSettings)
    except SettingsRefusedError as error:
        return refuse("fsck", error.lines)
    logs.set_up(None, "error")
    try:
        report = asyncio.run(_check(settings, full=args.full, repair=args.repair))
    except DatabaseError as error:
        return without_database("fsck", settings.database_url.get_secret_value(), error)
    except ValueError as error:  # an address of Redis that cannot be meant
        return refuse("fsck", [str(error)])
    return UNAVAILABLE if report is None else show(args, document(report) | {"repaired": repaired(report)})


async def _check(settings: "FsckSettings", *, full: bool, repair: bool) -> "Report | None":
    from db import revisions  # noqa: PLC0415
    from db.consistency import Limits  # noqa: PLC0415
    from db.engine import Database  # noqa: PLC0415
    from service.checks.consistency import Check  # noqa: PLC0415
    from service.checks.consistency_hints import HintLimits  # noqa: PLC0415

    url = settings.database_url.get_secret_value()
    async with await Database.open(url, schema=settings.db_schema, size=2) as database:
        if not await revisions.is_current(database.link):
            found = await revisions.current(database.link)
            text = (
                f"the schema is at {found or 'nothing'}, this version needs {revisions.head()}: run `errander migrate`"
            )
            refuse("fsck", [text])
            return None
        progress = _Progress()
        check = Check(
            database,
            settings.redis_url.get_secret_value(),
            Limits(lease=settings.lease_seconds),
            HintLimits(settings.hint_window, settings.hint_horizon_seconds),
            repair=repair,
            tell=progress.tell,
        )
        try:
            return await check.run(full=full)
        finally:
            progress.end()


class _Progress:
    """One line on a terminal, written over; nothing where nobody looks."""

    def __init__(self) -> None:
        self._due = 0.0
        self._shown = False

    def tell(self, place: str, rows: int) -> None:
        if sys.stderr.isatty() and time.monotonic() >= self._due:
            self._due = time.monotonic() + _PROGRESS_SECONDS
            self._shown = True
            print(f"\r{place}: {rows:,} rows looked at\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
