"""The `errander` command. Operates the service over its API; server commands join through entry points."""

from ._main import main

__all__ = ["main"]
