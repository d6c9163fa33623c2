"""Clients of Redis or Valkey, from the addresses that platforms hand out. Every call has a timeout."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

CALL_TIMEOUT = 2.0
"""Seconds for any call but a blocking one."""


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
    client: Redis = Redis.from_url(url, **options)
    return client


def _by_sentinel(url: str, options: dict[str, Any]) -> Redis:
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
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py 5 has no annotation here
        addresses,
        sentinel_kwargs={"socket_timeout": options["socket_timeout"]},
        **options,
    )
    client: Redis = sentinel.master_for(
        path[0],
        db=int(path[1]) if len(path) > 1 else 0,
        username=unquote(user) or None,
        password=unquote(password) or None,
    )
    return client
