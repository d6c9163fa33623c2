"""Which URLs may be asked, and to which addresses their host leads.

The address is decided here and the connection is made to it, in one step (`transport.py`): a name that answers
differently when it is asked again gains nothing.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence

import httpx

from workers.outbound.addresses import Address, is_public
from workers.outbound.policy import OutboundPolicy

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host, as text. Raises OSError where there is none."""

METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
"""Names by which clouds hand credentials to their guests; refused before they are resolved."""

# What a resolver of the C library still takes for an address: `2130706433`, `0x7f.1`, `0177.0.0.1`.
_NUMBER = re.compile(r"^(0x[0-9a-f]*|\d+)$")
_NAME = re.compile(r"^[a-z0-9._-]{1,253}$")


class OutboundRefused(httpx.TransportError):
    """The request was not made: its URL, or where its host leads, is not allowed. The same request is refused again."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's answer, off the event loop."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def check_url(url: httpx.URL, policy: OutboundPolicy) -> None:
    """Everything about a URL that shows without resolving its host. Raises OutboundRefused. Pure."""
    if url.scheme != "https" and not (url.scheme == "http" and policy.http):
        raise OutboundRefused(
            f"only {'https:// and http://' if policy.http else 'https://'} is allowed, not {url.scheme}://"
        )
    if url.userinfo:
        raise OutboundRefused("the URL holds a user or a password; put them in the header Authorization")
    host = plain_host(url.raw_host.decode("ascii"))
    if not host:
        raise OutboundRefused("the URL has no host")
    port = url.port if url.port is not None else 80 if url.scheme == "http" else 443
    if not policy.allows_port(url.scheme, port):
        raise OutboundRefused(f"port {port} is not allowed for {url.scheme}://")
    if host in METADATA_NAMES and host not in policy.hosts:
        raise OutboundRefused(f"{host} is a cloud's metadata service")
    if _literal(host) is None:
        if not _NAME.match(host):
            raise OutboundRefused(f"{host[:260]} is no host name")
        if _NUMBER.match(host.rpartition(".")[2]):
            raise OutboundRefused(f"{host} is no host: an address is written as four decimal numbers")


def plain_host(host: str) -> str:
    """A host as it is compared: lower case, no brackets, no dot at its end. Pure."""
    return host.lower().removeprefix("[").removesuffix("]").rstrip(".")


async def addresses_of(host: str, port: int, policy: OutboundPolicy, resolver: Resolver = resolve) -> list[Address]:
    """Where a host leads. Raises OutboundRefused if any of its addresses is not allowed, OSError if it has none.

    Any, not all: a name with one public and one private answer has no honest use.
    """
    found: list[Address] = []
    try:
        answers = await resolver(host, port)
    except UnicodeError:  # the resolver's own rules for names: a label is too long, or empty
        raise OutboundRefused(f"{host[:260]} is no host name") from None
    for text in answers:
        address = _literal(text)
        allowed = address is not None and (
            plain_host(host) in policy.hosts or policy.allows_address(address) or is_public(address)
        )
        if address is None or not allowed:
            # not the address itself: that would show the inside of this network to whoever chose the name
            raise OutboundRefused(f"{host[:260]} leads to an address that is not public")
        found.append(address)
    if not found:
        raise OSError(f"{host[:260]} has no address")
    return found


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
