"""Which addresses are public. Pure.

What counts as public is listed here and not left to `ipaddress.is_global` alone: its answer differs between patch
releases of Python, and it takes multicast and translated private addresses for global.
"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registries of IPv4 and IPv6 (RFC 6890 and later), as far as `is_global` may let them through.
_CLOSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared with the provider; Alibaba's metadata service too
            "127.0.0.0/8",
            "169.254.0.0/16",  # link local; the metadata service of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # the 6to4 relays that were
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "168.63.129.16/32",  # public by its number, but Azure's host answers there
        ),
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
            "2001:db8::/32",
            "2002::/16",  # 6to4, whose relays are gone (RFC 7526)
            "3fff::/20",
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def plain_forms(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 one that a mapped, translated (NAT64) or 6to4 address really leads to."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        elif address.sixtofour is not None:
            yield address.sixtofour
        elif address in _NAT64:
            yield _translated(address)


def is_public(address: Address) -> bool:
    """Whether everybody's internet is there. An IPv4 address inside an IPv6 one is judged as what it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(_translated(address))
    return address in _PUBLIC_V6 and not any(address in network for network in _CLOSED_V6)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
