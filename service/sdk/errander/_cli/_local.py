"""Commands that work on the database itself: the server's distribution brings them, by entry points of `GROUP`."""

import sys
from argparse import Namespace
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final

from ._session import REFUSED

GROUP: Final = "errander.local"


def local_command(name: str, flag: str) -> Callable[[Namespace], int]:
    """The command `name`, asked for by `flag`; where the server is not installed, one that says so."""
    for entry in entry_points(group=GROUP, name=name):
        found: Callable[[Namespace], int] = entry.load()
        return found

    def not_installed(_args: Namespace) -> int:
        print(f"errander: {flag} needs the server's code: run it where the API or a worker runs", file=sys.stderr)
        return REFUSED

    return not_installed


def without_url(flag: str) -> int:
    """Says that `--url` does not go with `flag`. Returns the exit code."""
    print(f"errander: {flag} works on DATABASE_URL itself and asks no API: leave out --url", file=sys.stderr)
    return REFUSED
