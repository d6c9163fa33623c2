"""Clients of Redis or Valkey, from the addresses that platforms hand out. Every call has a timeout.

`rediss://` checks the server's certificate and its name; redis-py alone would leave out the name.
"""

import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from db.urls import Encryption, is_local

CALL_TIMEOUT = 2.0
"""Seconds for any call but a blocking one."""

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """`redis+sentinel://[[user]:password@]host:port,…/service[/db]`, taken apart."""

    hosts: list[tuple[str, int]]
    service: str
    database: int
    username: str | None
    password: str | None


def connect(url: str, *, timeout: float = CALL_TIMEOUT, blocking: float = 0.0) -> Redis:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+sentinel://[:password@]host:port,…/service[/db]`.

    Opens nothing yet. `timeout` seconds a call; `blocking` seconds more for a client that waits in BLPOP.
    Raises ValueError for an address in no known form.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout + blocking,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "health_check_interval": 15,
        # a lost reply is not repeated behind our back: a take that was sent twice would lose the first answer's ids
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
    }
    scheme = urlsplit(url).scheme
    if scheme == "redis+sentinel":
        return _by_sentinel(url, options)
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            f"REDIS_URL must begin with redis://, rediss://, unix:// or redis+sentinel:// (not {scheme!r})"
        )
    given = tls_options(url)
    client: Redis
    if not given:
        client = Redis.from_url(url, **options)
        return client
    plain, _, query = url.partition("?")
    rest = "&".join(part for part in query.split("&") if part and not part.startswith("ssl_"))
    # the address's own words would win over ours, unread
    client = Redis.from_url(f"{plain}?{rest}" if rest else plain, **options, **given)
    return client


def tls_options(url: str) -> dict[str, Any]:
    """What `rediss://…?ssl_ca_certs=…` says about TLS, as redis-py takes it; nothing for any other address.

    `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`: paths. `ssl_cert_reqs`: `required` (default), `optional`, `none`.
    `ssl_check_hostname`: default true unless that is `none`. `ssl_min_version`: `TLSv1.2` (default),
    `TLSv1.3`. Raises ValueError for anything else, and for a file that cannot be read.
    """
    parts = urlsplit(url)
    given = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    if parts.scheme != "rediss":
        if given:
            raise ValueError(f"REDIS_URL: {', '.join(given)} needs rediss:// (it begins with {parts.scheme}://)")
        return {}
    options: dict[str, Any] = {}
    for name in _TLS_FILES:
        path = given.pop(name, None)
        if path is not None:
            if not os.access(path, os.R_OK):
                raise ValueError(f"REDIS_URL: {name}={path} cannot be read by this user")
            options[name] = path
    options["ssl_cert_reqs"] = _one_of(
        given, "ssl_cert_reqs", {name: name for name in ("required", "optional", "none")}
    )
    options["ssl_min_version"] = _one_of(given, "ssl_min_version", _TLS_VERSIONS)
    checked = options["ssl_cert_reqs"] != "none"  # for a client, `optional` is as strict as `required`
    words = dict.fromkeys(_YES, True) | dict.fromkeys(_NO, False)
    options["ssl_check_hostname"] = (
        _one_of(given, "ssl_check_hostname", words) if "ssl_check_hostname" in given else checked
    )
    if options["ssl_check_hostname"] and options["ssl_cert_reqs"] == "none":
        raise ValueError("REDIS_URL: ssl_check_hostname needs ssl_cert_reqs=required")
    if given:
        raise ValueError(f"REDIS_URL: {', '.join(given)} is not known")
    return options


def _one_of(given: dict[str, str], name: str, values: dict[str, Any]) -> Any:
    """The value of a word; the first of `values` where it is not given."""
    word = given.pop(name, next(iter(values)))
    if word not in values:
        raise ValueError(f"REDIS_URL: {name} must be one of {', '.join(values)}, not {word!r}")
    return values[word]


def encryption(url: str) -> Encryption:
    """What an address promises about its connections."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or all(is_local(name) for name in parts.netloc.rpartition("@")[2].split(",")):
        return Encryption.LOCAL
    given = tls_options(url)
    if not given:
        return Encryption.NONE
    if given["ssl_cert_reqs"] == "none":
        return Encryption.UNVERIFIED
    return Encryption.VERIFIED if given["ssl_check_hostname"] else Encryption.VERIFIED_ISSUER


def sentinel_address(url: str) -> SentinelAddress:
    """The parts of an address of sentinels. Raises ValueError."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    path = [part for part in parts.path.split("/") if part]
    if not path or not all(hosts):
        raise ValueError(
            "redis+sentinel:// needs hosts and a service: redis+sentinel://host:26379,host2:26379/service/0"
        )
    addresses = []
    for host in hosts:
        name, _, port = host.partition(":")
        addresses.append((name, int(port or 26379)))
    credentials = parts.netloc.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    return SentinelAddress(
        addresses, path[0], int(path[1]) if len(path) > 1 else 0, unquote(user) or None, unquote(password) or None
    )


def _by_sentinel(url: str, options: dict[str, Any]) -> Redis:
    address = sentinel_address(url)
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py 5 has no annotation here
        address.hosts,
        sentinel_kwargs={"socket_timeout": options["socket_timeout"]},
        **options,
    )
    client: Redis = sentinel.master_for(
        address.service, db=address.database, username=address.username, password=address.password
    )
    return client
