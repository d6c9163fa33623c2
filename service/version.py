"""Which version of Errander this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

API_VERSION = "v1"
"""The prefix of all routes; it only ever grows."""


@cache
def server_version() -> str:
    """The version of the installed server, or `0+unknown` when it runs from files that were never installed."""
    try:
        return installed("errander-server")
    except PackageNotFoundError:
        return "0+unknown"
