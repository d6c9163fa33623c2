"""Addresses of PostgreSQL in the forms that platforms hand out, as the one form the driver takes. Pure."""

import re
from urllib.parse import urlsplit, urlunsplit

from db.errors import SettingsError

_PASSWORD = re.compile(r"((?:^|&)password=)[^&]*")
_SCHEME = re.compile(r"^(postgres|postgresql)(\+asyncpg)?$")


def postgres_dsn(url: str) -> str:
    """`postgres://`, `postgresql://` and `postgresql+asyncpg://` as the `postgresql://` of libpq.

    Query parameters of libpq (`sslmode`, `sslrootcert`, `target_session_attrs`, …) stay: asyncpg reads them itself.
    Raises SettingsError for anything else; the message holds no password.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError as error:  # its words are about brackets, not about what was in the address
        raise SettingsError(f"DATABASE_URL is no address: {error}") from None
    if not _SCHEME.match(parts.scheme):
        raise SettingsError(
            f"DATABASE_URL must begin with postgresql:// (it begins with {parts.scheme or 'nothing'}://)"
        )
    # not put together again from its parts: that drops the empty host of `postgresql:///name`
    return "postgresql" + url.strip()[len(parts.scheme) :]


def masked(url: str) -> str:
    """The address without its password, for messages and logs."""
    parts = urlsplit(url)
    parts = parts._replace(query=_PASSWORD.sub(r"\1***", parts.query))
    if parts.password is None:
        return urlunsplit(parts)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
