"""By which names a server is asked: what a page of a stranger's cannot make its own.

A page may have its own name point at this machine (DNS rebinding). To a browser its requests are then of the page's own origin,
so nothing else tells them from a user's. Only their `Host` does: it is the page's name. Where no credential is asked for, a
name must therefore be one that no stranger can own in the public DNS, or be named in the settings.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from service.http.problems import Problem

SETTING: Final = "ERRANDER_ALLOWED_HOSTS"
ANY: Final = "*"
_PATTERN: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\*")
_OURS: Final = (".localhost", ".local", ".internal", ".svc")
"""Ends of names that are resolved on this machine, in its network or its cluster only (RFC 6761, RFC 6762, Kubernetes)."""


def hosts_of(text: str) -> tuple[str, ...]:
    """The names of the setting. Raises ValueError naming what is none. Pure."""
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for name in found:
        if not _PATTERN.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name of a host; name each without scheme and port, such as jobs.example.org, "
                "*.example.org for every name below it, or * for any"
            )
    return found


def refuse_stranger(headers: Collection[tuple[bytes, bytes]], named: tuple[str, ...]) -> None:
    """Raises Problem `misdirected-request` unless a request's `Host` is local or `named`. Only HTTP/1.0 has none, which no
    browser speaks.
    """
    for name, value in headers:
        if name == b"host" and not _is_allowed(value, named):
            host = value.decode("latin-1")[:200]
            raise Problem(
                "misdirected-request",
                f"{host!r} is not known as a name of this server; if it is one, add it to {SETTING} (now: "
                f"{', '.join(named) or 'nothing'}); IP addresses and local names need not be there",
            )


@lru_cache(maxsize=1024)  # the same few hosts, again and again
def _is_allowed(value: bytes, named: tuple[str, ...]) -> bool:
    text = value.decode("latin-1").strip().lower()
    host = (text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]).removesuffix(".")
    if ANY in named or "." not in host or host.endswith(_OURS) or host in named:
        return True
    if any(one.startswith("*.") and host.endswith(one[1:]) for one in named):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
