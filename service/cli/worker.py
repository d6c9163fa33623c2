"""`errander worker`: one worker process, or several under a supervisor."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli import arguments
from service.cli.refusing import REFUSED, refuse

if TYPE_CHECKING:
    from workers.settings import WorkerSettings

_HIGHEST_PORT = 65535


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser("worker", help="run jobs", description="Runs jobs until it is told to end.")
    parser.add_argument("--priority", metavar="P,P", help="which of high,default,low to serve (default: all)")
    parser.add_argument("--pool", help="the pool to serve (default: default)")
    parser.add_argument("--tasks", metavar="a.b,c.d", help="import paths of task modules")
    parser.add_argument("--slots", type=int, help="jobs at a time (default 100); 0 only runs the leader's loops")
    parser.add_argument("--threads", type=int, help="threads for `def` tasks (default 32)")
    parser.add_argument("--processes", type=arguments.at_least_one, default=1, help="worker processes (default 1)")
    parser.add_argument("--burst", action="store_true", help="run what is due, then exit")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Runs the command."""
    given = {
        "ERRANDER_PRIORITIES": args.priority,
        "ERRANDER_POOL": args.pool,
        "ERRANDER_TASKS": args.tasks,
        "ERRANDER_SLOTS": args.slots,
        "ERRANDER_THREADS": args.threads,
    }
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    if args.processes == 1:
        from workers import garbage  # noqa: PLC0415 - `errander --help` must not pay for it

        garbage.pause()  # before the rest is loaded, which a run settles
    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from workers.settings import WorkerSettings  # noqa: PLC0415

    try:
        settings = read(WorkerSettings)
    except SettingsRefusedError as error:
        return refuse("worker", error.lines)
    if args.processes > 1:
        return _supervise(settings, args.processes, burst=args.burst)
    from workers import command  # noqa: PLC0415

    return command.run(settings, burst=args.burst)


def _supervise(settings: "WorkerSettings", processes: int, *, burst: bool) -> int:
    from service.supervise import Part, run_parts  # noqa: PLC0415

    last = settings.metrics_port + processes - 1
    if settings.metrics_port and last > _HIGHEST_PORT:
        said = (
            f"ERRANDER_METRICS_PORT ({settings.metrics_port}): each of {processes} processes has a port, "
            f"and the last one's would be {last}; choose at most {_HIGHEST_PORT - processes + 1}, or 0 for none"
        )
        return refuse("worker", [said])
    errander = shutil.which("errander", path=str(Path(sys.executable).parent)) or "errander"
    argv = (errander, "worker", *(["--burst"] if burst else []))
    parts = []
    for number in range(processes):
        port = settings.metrics_port + number if settings.metrics_port else 0
        env = {**os.environ, "ERRANDER_SUPERVISED": "1", "ERRANDER_METRICS_PORT": str(port)}
        name = f"worker-{number + 1}"
        parts.append(Part(name=name, argv=argv, env=env, grace=settings.grace, exit_refused=REFUSED))
    return run_parts(parts)
