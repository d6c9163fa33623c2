"""How a server command says that it does not start: one line a reason, on standard error, and an exit code."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from db.errors import DatabaseError

REFUSED = 2
UNAVAILABLE = 5
ENV_FILE = Path(".errander/env")
"""Where `errander dev`, started in the current folder, writes the addresses of its servers."""


def refuse(command: str, lines: Iterable[str]) -> int:
    """Prints the reasons. Returns the exit code."""
    said = list(lines)
    for line in said:
        _say(command, line)
    if ENV_FILE.is_file() and any(line.endswith("_URL: is not set") for line in said):
        _say(command, f"to use the addresses of `errander dev`: export $(cat {ENV_FILE})")
    return REFUSED


def without_database(command: str, url: str, error: "DatabaseError") -> int:
    """Says why PostgreSQL did not serve the command, and what to do. Returns the exit code."""
    from db.errors import SettingsError  # noqa: PLC0415 - `errander --help` must not pay for it
    from service.checks.unreachable import postgres_unreachable  # noqa: PLC0415

    _say(command, "; ".join(postgres_unreachable(url, error)))
    return REFUSED if isinstance(error, SettingsError) else UNAVAILABLE


def _say(command: str, line: str) -> None:
    print(f"errander {command}: {line}", file=sys.stderr)
