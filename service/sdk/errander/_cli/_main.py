"""Reads the command line, runs one command, and turns whatever happens into an exit code and at most one line.

    0 ok · 1 the job failed or was cancelled · 2 usage, or refused by the server · 3 not found · 4 not allowed ·
    5 unavailable or timed out · 130 Ctrl-C · 141 the reader of the output went away

What needs the client or pydantic is imported by the command that runs, so that `--help` is quick.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from .. import __version__
from ._parsers import CLIENT_COMMANDS, add_client_commands

GROUP: Final = "errander.commands"
INTERRUPTED: Final = 130
READER_GONE: Final = 141
"""What a shell reports for a program that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit; that must not fail again, loudly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


def _run(words: list[str]) -> int:
    parser = build_parser(with_server=_may_be_server_command(words))
    try:
        args, rest = parser.parse_known_args(words)
        if getattr(args, "takes_rest", False):  # a command that passes on what it does not know itself
            args.rest = rest
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    except SystemExit as end:  # argparse ends the program for --help, --version and usage errors
        return end.code if isinstance(end.code, int) else 2
    command: Callable[[argparse.Namespace], int | None] | None = getattr(args, "func", None)
    if command is None:
        parser.print_help()
        return 2
    return int(command(args) or 0)


def build_parser(*, with_server: bool = True) -> argparse.ArgumentParser:
    """The whole command line; `with_server` adds what other distributions registered."""
    parser = argparse.ArgumentParser(
        prog="errander", description="Durable jobs: submit them, watch them, run the service.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"errander {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    if with_server:
        for entry in _entry_points():
            _register(entry, subparsers)
    add_client_commands(subparsers)
    return parser


def _may_be_server_command(words: Sequence[str]) -> bool:
    """Whether anything but a client command may be meant: those need not load (nor suffer from) the server's code."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first not in CLIENT_COMMANDS


def _entry_points() -> Iterator[EntryPoint]:
    yield from sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _register(entry: EntryPoint, subparsers: Any) -> None:
    try:
        entry.load()(subparsers)
    except Exception as error:  # somebody else's code, and the commands of this package must work without it
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        print(f"errander: warning: commands of {entry.value!r} are not available ({said})", file=sys.stderr)
