"""What every client command runs in: a client at the right address, and errors as one line and an exit code."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .._api_errors import (
    ApiError,
    BadAnswer,
    ConnectionFailed,
    Forbidden,
    NotFound,
    TaskNotKnown,
    Unauthenticated,
    Unavailable,
)
from .._errors import ErranderError, WaitTimeout
from .._settings import DEFAULT_URL, environment_url, resolve_url
from .._sync import Client

OK: Final = 0
JOB_FAILED: Final = 1
REFUSED: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
UNAVAILABLE: Final = 5

ENV_FILE: Final = Path(".errander/env")
RETRIES: Final = 2
"""A person waits, so fewer tries than in a program."""


class UsageError(Exception):
    """What was typed cannot be meant; the message says what to type instead."""


def run_command(command: Callable[[argparse.Namespace, Client], int]) -> Callable[[argparse.Namespace], int]:
    """`command` with a client of its own, as a function of the parsed arguments that returns the exit code."""

    def run(args: argparse.Namespace) -> int:
        try:
            with Client(find_url(args.url), retries=RETRIES) as client:
                return command(args, client)
        except (ErranderError, UsageError, ValueError, TypeError) as error:
            print(f"errander: {_one_line(error)}", file=sys.stderr)
            return exit_code(error)

    return run


def find_url(given: str | None) -> str:
    """`--url`, else `ERRANDER_URL`, else `.errander/env` in the current folder, else this machine."""
    return resolve_url(given or environment_url() or _from_env_file() or DEFAULT_URL)


def exit_code(error: Exception) -> int:
    """The exit code that an error ends the command with."""
    match error:
        case NotFound():
            return NOT_FOUND
        case Unauthenticated() | Forbidden():
            return NOT_ALLOWED
        case ConnectionFailed() | Unavailable() | BadAnswer() | WaitTimeout():
            return UNAVAILABLE
        case ApiError() if error.status >= 500:
            return UNAVAILABLE
    return REFUSED


def _from_env_file() -> str | None:
    try:
        lines = ENV_FILE.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return values.get("ERRANDER_URL", "").strip().strip("\"'") or None


def _one_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    match error:
        case ConnectionFailed():
            return f"{said}; is the API running? start it with `errander dev`, or give its address with --url"
        case TaskNotKnown() if not error.similar:
            return f"{said}; `errander task list` shows what is known"
        case Unauthenticated():
            return f"{said}; set ERRANDER_TOKEN to an API key"
        case Forbidden():
            return f"{said}; use an API key that has this scope"
        case WaitTimeout():
            return f"{said}; wait again with `errander job wait {error.job_id}`"
    return said
