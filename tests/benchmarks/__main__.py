"""`python -m tests.benchmarks`: measure what docs/performance.md lists, print it, keep it, hold it against the gates.

Exit code 0: every gate holds (or it was a quick run). 1: one does not. 2: something could not be measured.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.benchmarks import figures, report, rows
from tests.benchmarks.programs import ROOT

PAGE: Final = ROOT / "docs/performance.md"
_LATEST = "latest.json"
# A group that takes longer than this hangs.
_GROUP_SECONDS = 3600.0
_QUICK_GROUP_SECONDS = 120.0


def main() -> int:
    """Runs the command."""
    options = _parser().parse_args()
    only = [name for name in options.only.split(",") if name]
    wrong = rows.unknown_groups(only)
    if wrong:
        print(f"bench: no group {', '.join(wrong)}; there are {', '.join(rows.GROUPS)}", file=sys.stderr)
        return 2
    if options.source is not None:
        found = figures.Report.from_json(options.source.read_text(encoding="utf-8"))
    else:
        _forget_outer_settings()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is put away
        options.folder.mkdir(parents=True, exist_ok=True)
        found = _measured(options, only or list(rows.GROUPS))
    print(f"\n{report.machine_line(found.machine)}\n\n{report.table(found)}\n{report.summary(found)}")
    if options.write_docs:
        PAGE.write_text(report.written_into(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    if found.failures:
        return 2
    return 1 if found.missed and not found.quick else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, gates reported and not enforced")
    parser.add_argument("--only", default="", metavar="G,G", help=f"of {','.join(rows.GROUPS)}")
    parser.add_argument("--rounds", type=_count, metavar="N", help="rounds of each measurement (5; quick: 1)")
    parser.add_argument("--history", type=_count, metavar="N", help="finished jobs (10,000,000; quick: 200,000)")
    parser.add_argument(
        "--waiting", type=_count, metavar="N", help="jobs in the deep backlog (1,000,000; quick: 50,000)"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="where JSON and PNG are written (.bench)")
    parser.add_argument("--write-docs", action="store_true", help="write the figures into docs/performance.md")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="measure nothing, take this report")
    return parser


def _count(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if not 1 <= number <= 12_000_000:
        raise argparse.ArgumentTypeError("from 1 to 12,000,000")
    return number


def _forget_outer_settings() -> None:
    for name in [name for name in os.environ if name.startswith(("DATABASE_URL", "REDIS_URL", "ERRANDER_"))]:
        del os.environ[name]


def _measured(options: argparse.Namespace, groups: list[str]) -> figures.Report:
    """Measures, and writes what there is after every group, so that nothing is lost to a later one."""
    from tests.benchmarks import machine
    from tests.benchmarks.ground import ground, sizes

    given = sizes(quick=options.quick, rounds=options.rounds, history=options.history, waiting=options.waiting)
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    path = options.folder / f"{at.replace(':', '')}.json"
    busy = machine.load_average()
    failures: dict[str, str] = {}
    found: list[figures.Row] = []
    with ground(given) as made:
        described = machine.described(made.postgres, made.valkey)
        if busy > 0.5:
            described["load"] = f"load {busy:.1f} when it began, so not alone"
        for name in [group for group in rows.GROUPS if group in groups]:
            print(f"{name} ...", end=" ", flush=True)
            began = time.monotonic()
            try:
                found += asyncio.run(_bounded(_scenarios()[name](made), given.quick))
                print(f"{time.monotonic() - began:.0f} s", flush=True)
            except Exception as error:  # the other groups can still be measured
                failures[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
                print(f"{type(error).__name__}: {error}", flush=True)
            finally:
                made.programs.end_all()
            result = _report(at, options, described, found, failures)
            path.write_text(result.to_json(), encoding="utf-8")
    (options.folder / _LATEST).write_text(result.to_json(), encoding="utf-8")
    _draw(result, path.with_suffix(".png"))
    print(f"\nwritten: {path}")
    return result


def _report(
    at: str,
    options: argparse.Namespace,
    described: Mapping[str, str],
    found: list[figures.Row],
    failures: Mapping[str, str],
) -> figures.Report:
    asked = {name: getattr(options, name) for name in ("only", "rounds", "history", "waiting")}
    return figures.Report(at, options.quick, described, asked, tuple(found), dict(failures))


async def _bounded(work: Awaitable[list[figures.Row]], quick: bool) -> list[figures.Row]:
    async with asyncio.timeout(_QUICK_GROUP_SECONDS if quick else _GROUP_SECONDS):
        return await work


def _scenarios() -> Mapping[str, Callable[..., Awaitable[list[figures.Row]]]]:
    from tests.benchmarks import backlog, drain, guarded, history, memory, outages, pickup, submitting

    return {
        "drain": drain.drain,
        "fleet": drain.fleet,
        "submit": submitting.submit,
        "guarded": guarded.guarded,
        "bulk": submitting.bulk,
        "pickup": pickup.pickup,
        "backlog": backlog.backlog,
        "redis": memory.redis_memory,
        "recovery": outages.recovery,
        "memory": memory.memory,
        "slots": memory.full_slots,
        "rescue": outages.rescue,
        "history": history.history,
    }


def _draw(result: figures.Report, path: Path) -> None:
    try:
        from tests.benchmarks import plot
    except ImportError:
        return
    plot.write(result, path)


if __name__ == "__main__":
    sys.exit(main())
