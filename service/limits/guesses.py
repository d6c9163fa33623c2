"""Wrong secrets for one API key from one network, counted by this process alone.

What is counted is a network and the id of a key, so a stranger behind the same address, or one who tries other keys, shuts
nobody out. The counts are not shared in Redis: there every id that somebody invents would be one more name to keep.
A window begins with the first wrong secret.
"""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from service.http.problems import Problem
from service.limits.rates import Rate

MOST: Final = 10_000
"""Counts that are kept; those that began first are forgotten first."""
_NETWORK: Final = 64
"""Bits of an IPv6 address that one customer is given: the rest is theirs to choose."""


@dataclass(slots=True)
class _Count:
    ends: float
    wrong: int = 0


class Guesses:
    """Owned by `RateLimits`. Without a rate nothing is refused."""

    def __init__(self, rate: Rate | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}

    def may_go_on(self, address: str, key_id: str) -> None:
        """Raises Problem `quota-exceeded` where the network of `address` was wrong about this key too often."""
        if self._rate is None:
            return
        count = self._counts.get((network_of(address), key_id))
        if count is not None and count.wrong >= self._rate.quota and self._clock() < count.ends:
            raise self._refusal(self._rate, count)

    def count(self, address: str, key_id: str) -> None:
        """Counts a wrong secret. Raises Problem `quota-exceeded` for one more than there may be."""
        if self._rate is None:
            return
        now, who = self._clock(), (network_of(address), key_id)
        count = self._counts.get(who)
        if count is None or now >= count.ends:
            self._counts.pop(who, None)
            if len(self._counts) >= MOST:
                del self._counts[next(iter(self._counts))]
            count = self._counts[who] = _Count(now + self._rate.seconds)
        if count.wrong >= self._rate.quota:
            raise self._refusal(self._rate, count)
        count.wrong += 1

    def _refusal(self, rate: Rate, count: _Count) -> Problem:
        seconds = max(1, ceil(count.ends - self._clock()))
        return Problem(
            "quota-exceeded",
            f"{rate.quota} secrets from this address were not those of the API key in {rate.seconds} s; correct the key, "
            f"and try again in {seconds} s",
            headers={
                "Retry-After": str(seconds),
                "RateLimit-Policy": rate.policy,
                "RateLimit": f'"{rate.name}";r=0;t={seconds}',
            },
            **{"violated-policies": [rate.name]},
        )


def network_of(address: str) -> str:
    """Whom an address stands for: itself, or the network of an IPv6 address. Pure."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK), strict=False))
