"""`errander api`: the HTTP API in the foreground."""

import argparse
import os
import sys

from service.cli import arguments
from service.cli.refusing import refuse
from service.cli.shadowing import shadowed


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "api", help="serve the HTTP API", description="Serves the HTTP API until it is told to end."
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=arguments.port, help="port to listen on (default 8000)")
    parser.add_argument(
        "--processes", type=arguments.at_least_one, default=1, help="API processes on the same port (default 1)"
    )
    parser.add_argument("--with-worker", action="store_true", help="run a worker beside each API process")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Runs the command."""
    wrong = shadowed()
    if wrong:
        return refuse("api", wrong)
    if args.with_worker:
        os.environ["ERRANDER_WITH_WORKER"] = "1"
    from db.settings import SettingsRefusedError  # noqa: PLC0415 - `errander --help` must not pay for it
    from service.serving import serve  # noqa: PLC0415
    from service.settings import load  # noqa: PLC0415
    from service.supervise import port_taken  # noqa: PLC0415

    try:
        settings = load()
    except SettingsRefusedError as error:
        return refuse("api", error.lines)
    host = settings.host if args.host is None else args.host
    port = settings.port if args.port is None else args.port
    # Asked first, because the server's own words would not name the way out.
    try:
        if port and port_taken(port, host):
            print(f"errander api: port {port} of {host} is taken; choose another with --port", file=sys.stderr)
            return 1
    except OSError as error:
        return refuse("api", [f"--host {host} is no address of this machine: {error}"])
    serve(settings, host=host, port=port, processes=args.processes)
    return 0
