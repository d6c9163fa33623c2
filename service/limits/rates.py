"""Rates as settings write them, and policies as answers name them
(draft-ietf-httpapi-ratelimit-headers, whose fields are lists of RFC 9651).
"""

from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem, parse_many
from starlette.types import Scope

from service.http.headers import COLLECTED

OFF: Final = "off"
"""Instead of a rate."""
LARGEST: Final = 1_000_000_000
"""Requests in one window."""

_POLICY: Final = b"ratelimit-policy"
_STATE: Final = b"ratelimit"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in any window of so many seconds. `name` is what answers call the policy."""

    name: str
    item: RateLimitItem

    @property
    def quota(self) -> int:
        """Requests in a window."""
        return self.item.amount

    @property
    def seconds(self) -> int:
        """The length of the window."""
        return self.item.get_expiry()

    @property
    def policy(self) -> str:
        """How `RateLimit-Policy` names it."""
        return f'"{self.name}";q={self.quota};w={self.seconds}'


def item_of(text: str) -> RateLimitItem | None:
    """The rate that `text` means, such as `600/minute` or `5000 per 2 hours`; None for `off`.

    Raises ValueError with a message for people.
    """
    if text.strip().lower() == OFF:
        return None
    try:
        items = parse_many(text)
    except ValueError:
        items = []
    if len(items) != 1 or not 1 <= items[0].amount <= LARGEST:
        raise ValueError(
            "must be one rate such as 600/minute, 50/second or 5000 per 2 hours (second, minute, hour, day), or off"
        )
    return items[0]


def rate_of(name: str, text: str | None) -> Rate | None:
    """The policy `name` with the rate that `text` means; None where there is no limit. Raises ValueError."""
    item = None if text is None else item_of(text)
    return None if item is None else Rate(name, item)


def say(request_scope: Scope, policies: str, states: str) -> None:
    """Gives the request's answer `RateLimit-Policy` and `RateLimit` with these items, after those that it has."""
    collected: list[tuple[bytes, bytes]] = request_scope.setdefault(COLLECTED, [])
    said = dict(collected) if collected else {}
    for name, items in ((_POLICY, policies), (_STATE, states)):
        value = items.encode()
        if name in said:
            collected.remove((name, said[name]))
            value = said[name] + b", " + value
        collected.append((name, value))


def unsay(request_scope: Scope) -> None:
    """Takes both off again, because what they say has changed."""
    collected: list[tuple[bytes, bytes]] = request_scope.get(COLLECTED, [])
    collected[:] = [pair for pair in collected if pair[0] not in (_POLICY, _STATE)]
