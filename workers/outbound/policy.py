"""What requests to somebody else's addresses may do, as one frozen value. Reads nothing from the environment."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from workers.outbound.addresses import Address, Network, plain_forms

HTTPS_PORTS = frozenset({443, 8443})
HTTP_PORTS = frozenset({80})


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """By default: HTTPS to public addresses, on the two usual ports."""

    networks: tuple[Network, ...] = ()
    """Networks that are reached although they are not public."""
    hosts: frozenset[str] = frozenset()
    """Names (lower case, no dot at the end) whose addresses are reached whatever they are."""
    http: bool = False
    """Whether `http://` is allowed beside `https://`."""
    ports: frozenset[int] = frozenset()
    """Ports beside the usual ones: 443 and 8443, and 80 where `http` is allowed."""
    max_bytes: int = 1024 * 1024
    """Bytes of an answer's body; one that is longer is broken off."""
    connect_timeout: float = 5.0
    """Seconds for a connection: resolving, TCP and TLS, each."""
    read_timeout: float = 15.0
    """Seconds without a byte."""
    total_timeout: float = 30.0
    """Seconds for a request, to the last byte of its answer."""

    @classmethod
    def allowing(cls, text: str, *, http: bool = False) -> Self:
        """From a list as settings hold it: `10.20.0.0/16, hooks.internal, 127.0.0.1`, networks, addresses and names.

        Raises ValueError for a network with host bits, and for what is no name: `*`, a URL, a host with a port.
        """
        networks: list[Network] = []
        hosts: set[str] = set()
        for part in filter(None, (part.strip() for part in text.split(","))):
            if "/" in part or _is_address(part):
                networks.append(ipaddress.ip_network(part))
            else:
                hosts.add(_name(part))
        return cls(networks=tuple(networks), hosts=frozenset(hosts), http=http)

    def allows_port(self, scheme: str, port: int) -> bool:
        """Whether a request of this scheme may go to this port."""
        return port in (HTTP_PORTS if scheme == "http" else HTTPS_PORTS) or port in self.ports

    def allows_address(self, address: Address) -> bool:
        """Whether somebody said that this address is reached although it is not public."""
        return any(form in network for form in plain_forms(address) for network in self.networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _name(text: str) -> str:
    name = text.lower().rstrip(".")
    labels = name.split(".")
    if not name.isascii() or not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise ValueError(
            f"{text!r} is neither a network (10.0.0.0/8), an address nor a host name (ASCII, without a port)"
        )
    return name
