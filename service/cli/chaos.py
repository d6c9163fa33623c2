"""`errander chaos`: break a whole deployment of its own on purpose, and say which promises were not kept."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.refusing import REFUSED, refuse
from service.cli.shadowing import shadowed

if TYPE_CHECKING:
    from service.chaos.options import Options
    from service.chaos.report import Report


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "chaos",
        help="break a deployment of its own on purpose, and judge what is left",
        description="Starts PostgreSQL, Valkey, two APIs and some workers in a temporary folder, submits jobs, kills, "
        "freezes and cuts off everything on a schedule that follows from the seed, and checks every promise afterwards. "
        "Touches no other deployment. Exit code 0: all promises were kept, 1: some were not, 2: it could not run.",
    )
    parser.add_argument("--seed", type=int, help="what the schedule and the jobs follow from (default: today's date)")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long jobs run and break (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="jobs a second (default: %(default)g)")
    parser.add_argument("--faults", metavar="a,b", help="only these kinds, or none (default: all; --plan names them)")
    parser.add_argument("--folder", type=Path, help="where to write, new or empty (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave the folder; it is left anyway where promises broke")
    parser.add_argument("--plan", action="store_true", help="print the schedule of the seed and do nothing")
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="how to print the result")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Runs the command. Exit code 0: all promises were kept, 1: some were not, 2: it could not run."""
    wrong = shadowed()
    if wrong:
        return refuse("chaos", wrong)
    from service.chaos.options import OptionsRefusedError  # noqa: PLC0415 - `errander --help` must not pay for it

    try:
        options = _options(args)
    except OptionsRefusedError as error:
        return refuse("chaos", [str(error)])
    if args.plan:
        return _print_plan(options)
    return _run(options, args.output)


def _options(args: argparse.Namespace) -> "Options":
    from service.chaos.options import Options, faults_of  # noqa: PLC0415
    from service.chaos.plan import FAULTS  # noqa: PLC0415

    seed = int(datetime.now(UTC).strftime("%Y%m%d")) if args.seed is None else args.seed
    faults = tuple(FAULTS) if args.faults is None else faults_of(args.faults)
    return Options(seed, args.minutes, args.workers, args.rate, faults, args.folder, args.keep).check()


def _print_plan(options: "Options") -> int:
    from service.chaos.plan import schedule  # noqa: PLC0415

    print(f"seed {options.seed}, {options.minutes:g} minutes")
    for fault in schedule(options.seed, options.seconds, options.faults):
        print(fault)
    return 0


def _run(options: "Options", output: str) -> int:
    import asyncio  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    from service.chaos.run import StoppedError, discard, make_folder, run, until_stopped  # noqa: PLC0415
    from workers import logs  # noqa: PLC0415

    logs.set_up(None, "error")
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    report = None
    try:
        folder = make_folder(options)
    except OSError as error:
        return refuse("chaos", [f"cannot write: {error}"])
    tell(f"seed {options.seed}, in {folder}")
    try:
        report = asyncio.run(until_stopped(run(options, folder, tell)))
    except StoppedError:
        return refuse("chaos", ["it was broken off"])
    except Exception:  # whatever kept it from its verdict: 1 is for broken promises alone
        traceback.print_exc()
        return REFUSED
    finally:
        if options.keep or (report is not None and not report.clean):
            tell(f"everything that was written is left in {folder}")
        else:
            discard(folder)
    _print(report, output)
    return 0 if report.clean else 1


def _print(report: "Report", output: str) -> None:
    if output == "json":
        print(json.dumps(report.document(), indent=2, default=str))
        return
    for line in report.lines():
        print(line)
