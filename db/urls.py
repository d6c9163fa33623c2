"""Addresses of PostgreSQL in the forms that platforms hand out, as the one form the driver takes, and what they say
about TLS. Looks whether the files that an address names can be read, and at nothing else.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import certifi

from db.errors import SettingsError

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's, from the weakest."""

_PASSWORD = re.compile(r"((?:^|&)(?:ssl)?password=)[^&]*")
_SCHEME = re.compile(r"^(postgres|postgresql)(\+asyncpg)?$")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SYSTEM = re.compile(r"([?&]sslrootcert=)system(?=&|$)")
_BINDING = re.compile(r"(?<=[?&])channel_binding=[^&]*&?")


class Encryption(StrEnum):
    """What an address promises about its connections."""

    LOCAL = "local"
    """They do not leave this machine."""
    VERIFIED = "verified"
    """Encrypted, the server's certificate and name checked."""
    VERIFIED_ISSUER = "verified-issuer"
    """Encrypted, the certificate checked but not whose it is."""
    UNVERIFIED = "unverified"
    """Encrypted, with whoever answers."""
    OPPORTUNE = "opportune"
    """Encrypted if the server offers it; in clear if somebody says it does not."""
    NONE = "none"
    """In clear."""


def postgres_dsn(url: str) -> str:
    """`postgres://`, `postgresql://` and `postgresql+asyncpg://` as the `postgresql://` of libpq.

    Query parameters of libpq (`sslmode`, `sslrootcert`, `target_session_attrs`, …) stay: asyncpg reads them itself.
    It knows no `sslrootcert=system`, so that becomes the path of the system's authorities; and no channel binding.
    Raises SettingsError for anything else, and for files that cannot be read; the message holds no password.
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
    return _with_tls("postgresql" + url.strip()[len(parts.scheme) :], dict(parse_qsl(parts.query)))


def _with_tls(dsn: str, given: Mapping[str, str]) -> str:
    mode = given.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise SettingsError(f"DATABASE_URL: sslmode must be one of {', '.join(SSL_MODES)}, not {mode!r}")
    if given.get("channel_binding") == "require":
        raise SettingsError(
            "DATABASE_URL: channel_binding=require is not possible with this driver; "
            "take it out, and say sslmode=verify-full with sslrootcert, which lets no other server answer either"
        )
    dsn = _BINDING.sub("", dsn).rstrip("?&")
    if given.get("sslrootcert") == "system":
        if mode not in (None, "verify-full"):
            raise SettingsError(f"DATABASE_URL: sslrootcert=system goes with sslmode=verify-full only, not {mode}")
        dsn = _SYSTEM.sub(lambda found: found[1] + quote(system_authorities()), dsn)
        dsn += "" if mode else "&sslmode=verify-full"
    for name in _FILES:
        path = given.get(name)
        if path and path != "system" and not os.access(path, os.R_OK):
            raise SettingsError(f"DATABASE_URL: {name}={path} cannot be read by this user")
    return dsn


def system_authorities() -> str:
    """The file with the certificate authorities that this machine believes; those of certifi where it has none."""
    found = ssl.get_default_verify_paths().cafile
    return found or certifi.where()


def encryption(dsn: str, environ: Mapping[str, str]) -> Encryption:
    """What libpq's rules make of an address from `postgres_dsn` and of libpq's environment."""
    parts = urlsplit(dsn)
    given = dict(parse_qsl(parts.query))
    names = given.get("host") or parts.netloc.rpartition("@")[2] or environ.get("PGHOST", "")
    if all(is_local(name) for name in names.split(",")):
        return Encryption.LOCAL
    mode = given.get("sslmode") or environ.get("PGSSLMODE") or "prefer"
    root = given.get("sslrootcert") or environ.get("PGSSLROOTCERT")
    if mode == "require" and (root or Path("~/.postgresql/root.crt").expanduser().exists()):
        mode = "verify-ca"  # libpq's rule, kept by the driver
    return {
        "disable": Encryption.NONE,
        "require": Encryption.UNVERIFIED,
        "verify-ca": Encryption.VERIFIED_ISSUER,
        "verify-full": Encryption.VERIFIED,
    }.get(mode, Encryption.OPPORTUNE)


def is_local(host: str) -> bool:
    """Whether a host, with or without a port, is this machine: a loopback address, `localhost`, a socket's folder."""
    if not host or host.startswith("/"):
        return True
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def masked(url: str) -> str:
    """The address without its password, for messages and logs."""
    parts = urlsplit(url)
    parts = parts._replace(query=_PASSWORD.sub(r"\1***", parts.query))
    if parts.password is None:
        return urlunsplit(parts)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
