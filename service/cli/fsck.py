"""`errander fsck`: whether what is stored obeys its own rules, and mending what can be mended."""

import argparse
import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from service.cli.refusing import REFUSED, refuse
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.checks.consistency import FsckSettings, Report

_PROGRESS_SECONDS = 0.5


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "fsck",
        help="check what is stored for broken rules, and mend it",
        description=(
            "Looks for contradictions between jobs, queue, leases and hints, one line each, and says what to do. "
            "Exit code 0: no errors (warnings are shown), 1: errors are left, 2: it could not be checked."
        ),
    )
    parser.add_argument("--full", action="store_true", help="read every row, not only what is new, waits or runs")
    parser.add_argument(
        "--repair", action="store_true", help="mend what is safe to mend; running while jobs run is fine"
    )
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="how to print it")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Runs the command. Exit code 0: no errors are left, 1: some are, 2: it could not be checked."""
    wrong = shadowed()
    if wrong:
        return refuse("fsck", wrong)
    from db.errors import DatabaseError  # noqa: PLC0415 - `errander --help` must not pay for it
    from service.checks.consistency import FsckSettings  # noqa: PLC0415
    from service.settings import SettingsRefusedError, read  # noqa: PLC0415
    from workers import logs  # noqa: PLC0415

    try:
        settings = read(FsckSettings)
        logs.set_up(None, "error")
        report = asyncio.run(_check(settings, full=args.full, repair=args.repair))
    except SettingsRefusedError as error:
        return refuse("fsck", error.lines)
    except (DatabaseError, OSError, ValueError) as error:
        return refuse(
            "fsck", [f"it could not be checked: {error}", "look at DATABASE_URL; `errander doctor` says what is wrong"]
        )
    if report is None:
        return REFUSED
    _print_json(report) if args.output == "json" else _print_text(report)
    return 0 if report.clean else 1


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


def _print_json(report: "Report") -> None:
    from service.checks.consistency import document, ordered  # noqa: PLC0415

    repaired = [
        {"code": one.code, "count": one.count, "examples": list(one.examples)} for one in ordered(report.repaired)
    ]
    print(json.dumps(document(report) | {"repaired": repaired}, indent=2))


def _print_text(report: "Report") -> None:
    from service.checks.consistency import RULES, ordered  # noqa: PLC0415

    for one in ordered(report.repaired):
        print(f"mended   {one.code}: {one.count}{_examples(one.count, one.examples)}")
    for one in ordered(report.found):
        rule = RULES[one.code]
        print(
            f"{rule.severity:8} {one.code}: {one.count}: {rule.message} → {rule.action}"
            f"{_examples(one.count, one.examples)}"
        )
    rows = ", ".join(f"{place} {number:,}" for place, number in sorted(report.looked_at.items()))
    errors = sum(RULES[code].severity == "error" for code in report.found)
    warnings = len(report.found) - errors
    verdict = "clean" if report.clean else _number(errors, "error")
    also = f", {_number(warnings, 'warning')}" if warnings else ""
    print(f"{verdict}{also}; looked at: {rows}")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _examples(count: int, examples: tuple[str, ...]) -> str:
    if not examples:
        return ""
    more = f" and {count - len(examples):,} more" if count > len(examples) else ""
    return f" ({', '.join(examples)}{more})"
