"""`errander doctor`: what is right and what is wrong with this deployment, a line each."""

import argparse
import asyncio
import sys

from service.cli.refusing import refuse
from service.cli.shadowing import shadowed


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="diagnose this deployment",
        description="Looks at PostgreSQL, Redis, the schema and the fleet, changes nothing, and says what to do.",
    )
    parser.set_defaults(func=main)


def main(_args: argparse.Namespace) -> int:
    """Runs the command. Exit code 1 where anything fails."""
    wrong = shadowed()
    if wrong:
        return refuse("doctor", wrong)
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415 - `errander --help` must not pay for it
    from service.settings import DoctorSettings  # noqa: PLC0415
    from workers import logs  # noqa: PLC0415

    try:
        settings = read(DoctorSettings)
    except SettingsRefusedError as error:
        return refuse("doctor", error.lines)
    logs.set_up(None, "error")

    async def tell() -> bool:
        from service.checks.doctor import Grade, findings  # noqa: PLC0415

        healthy = True
        async for finding in findings(settings):
            todo = f"\n      → {finding.todo}" if finding.todo else ""
            print(f"{finding.grade:4}  {finding.subject}: {finding.text}{todo}")
            sys.stdout.flush()
            healthy = healthy and finding.grade != Grade.FAIL
        return healthy

    return 0 if asyncio.run(tell()) else 1
