"""How many answers a process holds open at once, of one kind: in all, of one tenant, and of one credential.

A quarter of the places is kept for tenants that hold less than a quarter. So one tenant alone never takes them all, and
one that is alone is not kept from most of them.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final, TypeVar

from service.auth.principal import ANYONE, Principal
from service.http.problems import Problem, unavailable

T = TypeVar("T")

RETRY_SECONDS: Final = 5


class Door:
    """Counts who is inside. `name` is what answers call the policy, and `what`, the same where it is not given, what is counted:
    `streams`.

    Where nobody is asked for a credential, only the limit of the process holds.
    """

    def __init__(self, name: str, *, most: int, most_of_one: int, what: str | None = None) -> None:
        self._name = name
        self._what = what or name
        self._most = most
        self._most_of_one = most_of_one
        self._of_tenant: Counter[str] = Counter()
        self._of_one: Counter[tuple[str, str]] = Counter()
        self.shut = False

    @property
    def inside(self) -> int:
        """Places that are taken."""
        return self._of_tenant.total()

    def refusal(self, principal: Principal) -> Problem | None:
        """Why there is no place: Problem `unavailable` or `quota-exceeded`; None: there is one."""
        name, what = self._name, self._what
        if self.shut:
            return unavailable("this server is shutting down; ask again")
        if self.inside >= self._most:
            return unavailable(
                f"this server holds {self._most} {what}, which is all it takes", retry_after=RETRY_SECONDS
            )
        if principal.name == ANYONE.name:
            return None
        if self._of_one[principal.tenant, principal.name] >= self._most_of_one:
            return _exceeded(
                name,
                self._most_of_one,
                f"this server holds {self._most_of_one} {what} of this credential; close one first",
            )
        share = self._most // 4
        if self._of_tenant[principal.tenant] >= share and self.inside >= self._most - share:
            return _exceeded(
                f"tenant-{name}",
                share,
                f"this server holds {self._of_tenant[principal.tenant]} {what} of this tenant, and the places that are left "
                "are those of other tenants; close one first",
            )
        return None

    @contextlib.contextmanager
    def enter(self, principal: Principal) -> Iterator[None]:
        """Takes a place for as long as the block lasts. Raises the Problem of `refusal`."""
        refused = self.refusal(principal)
        if refused is not None:
            raise refused
        one = (principal.tenant, principal.name)
        self._of_tenant[principal.tenant] += 1
        self._of_one[one] += 1
        try:
            yield
        finally:
            _leave(self._of_tenant, principal.tenant)
            _leave(self._of_one, one)


def _leave(inside: Counter[T], who: T) -> None:
    inside[who] -= 1
    if not inside[who]:
        del inside[who]


def _exceeded(policy: str, quota: int, detail: str) -> Problem:
    return Problem(
        "quota-exceeded",
        detail,
        headers={
            "Retry-After": str(RETRY_SECONDS),
            "RateLimit-Policy": f'"{policy}";q={quota};qu="{policy.removeprefix("tenant-")}"',
            "RateLimit": f'"{policy}";r=0',
        },
        **{"violated-policies": [policy]},
    )
