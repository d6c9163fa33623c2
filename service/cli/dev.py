"""`errander dev`: everything in one go. Reads the command line; `service.dev` does the work."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli import arguments

if TYPE_CHECKING:
    from service.dev.options import DevOptions


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command. Imports nothing that takes time."""
    parser = subparsers.add_parser(
        "dev",
        help="run everything on embedded servers",
        description="Embedded PostgreSQL and Valkey, migrations, catalogue, API and workers, in one go, for development. "
        "Without authentication, on loopback only.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the API (default: %(default)s)")
    parser.add_argument(
        "--port", type=arguments.port, default=8000, help="port of the API, 0: a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".errander"), help="kept between runs (default: %(default)s)"
    )
    parser.add_argument("--workers", type=arguments.count, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument("--tasks", default=None, metavar="a.b,c.d", help="modules with tasks (default: ERRANDER_TASKS)")
    parser.add_argument("--no-reload", action="store_true", help="leave the workers alone when a task module changes")
    parser.add_argument("--fresh", action="store_true", help="wipe the data of earlier runs first")
    parser.add_argument("--external", action="store_true", help="use DATABASE_URL and REDIS_URL of the environment")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run until a signal. Exit code 0 after a signal, 2 for refused options, 1 when it cannot start."""
    import asyncio  # noqa: PLC0415  # `errander --help` pays for none of these
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from db.settings import SettingsRefusedError, read  # noqa: PLC0415
    from service.cli.refusing import refuse  # noqa: PLC0415
    from service.dev.folder import DataFolder  # noqa: PLC0415
    from service.dev.options import DevError  # noqa: PLC0415
    from service.dev.stack import Stack, check_port  # noqa: PLC0415
    from service.supervise import Console  # noqa: PLC0415
    from workers.settings import DrainSettings  # noqa: PLC0415

    environ = dict(os.environ)
    options = _options(args, environ.get("ERRANDER_TASKS", ""))
    data = DataFolder(options.data_dir)
    console = Console()
    try:
        grace = read(DrainSettings).grace
        options.check(environ)
        with data.held(fresh=options.fresh) as ended:
            if ended:
                console.say(f"ended what an earlier run had left: {', '.join(ended)}")
            check_port(options)
            return asyncio.run(Stack(options, data, console, environ, Path.cwd(), grace=grace).run())
    except SettingsRefusedError as error:
        return refuse("dev", error.lines)
    except DevError as error:
        console.flush()
        print(f"errander: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0  # before anything was started; from then on the signal is handled
    finally:
        console.flush()


def _options(args: argparse.Namespace, default_tasks: str) -> "DevOptions":
    from service.dev.options import DevOptions  # noqa: PLC0415
    from service.supervise import free_port  # noqa: PLC0415

    tasks = default_tasks if args.tasks is None else args.tasks
    return DevOptions(
        host=args.host,
        port=args.port or free_port(),
        data_dir=args.data_dir,
        workers=args.workers,
        tasks=tuple(name for name in (part.strip() for part in tasks.split(",")) if name),
        reload=not args.no_reload,
        fresh=args.fresh,
        external=args.external,
    )
