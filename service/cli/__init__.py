"""The server's commands. The client's `errander` finds `register` by entry point and shows them beside its own.

One module a command; each brings `register(subparsers)` and imports what it needs only when it runs.
"""

import argparse
import importlib

_COMMANDS = ("dev", "api", "worker", "migrate", "tasks", "doctor", "chaos", "psql")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add every server command to the command line."""
    for name in _COMMANDS:
        importlib.import_module(f"{__name__}.{name}").register(subparsers)
