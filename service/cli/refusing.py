"""How a server command says that it does not start: one line a reason, on standard error, exit code 2."""

import sys
from collections.abc import Iterable

REFUSED = 2


def refuse(command: str, lines: Iterable[str]) -> int:
    """Prints the reasons. Returns the exit code."""
    for line in lines:
        print(f"errander {command}: {line}", file=sys.stderr)
    return REFUSED
