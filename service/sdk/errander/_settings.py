"""Where the API is and who asks: arguments first, then the environment, then this machine.

Read when a client is made, never at import. Each name may also be given as `NAME_FILE`, a file that holds the value.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

DEFAULT_URL: Final = "http://127.0.0.1:8000"


def resolve_url(base_url: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The base URL: the argument, else `ERRANDER_URL`, else this machine. Raises `ValueError` for what is no URL."""
    url = base_url or environment_url(environ) or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the address of the API is an http:// or https:// URL, got {url!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"the address of the API has no query and no fragment, got {url!r}")
    return url.rstrip("/")


def environment_url(environ: Mapping[str, str] | None = None) -> str:
    """What `ERRANDER_URL` says, or an empty string."""
    return _read("ERRANDER_URL", environ)


def resolve_token(token: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """The credential: the argument, else `ERRANDER_TOKEN`, else none. Raises `ValueError` for one no header takes."""
    found = token or _read("ERRANDER_TOKEN", environ)
    if found and not (found.isascii() and found.isprintable() and " " not in found):
        raise ValueError("the token has characters that no credential has; was more than the token copied?")
    return found or None


def _read(name: str, environ: Mapping[str, str] | None) -> str:
    values = os.environ if environ is None else environ
    if value := values.get(name, "").strip():
        return value
    if path := values.get(f"{name}_FILE", "").strip():
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{name}_FILE names a file that cannot be read: {error}") from error
    return ""
