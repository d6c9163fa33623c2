"""How many streams there may be: of a process, and of one credential."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from service.auth.principal import ANYONE, Principal
from service.http.problems import Problem, unavailable

MOST: Final = 1_000
"""Streams of one process."""
MOST_OF_ONE: Final = 20
"""Streams of one credential in one process; where nobody is asked for one, only the other limit holds."""
RETRY_SECONDS: Final = 5


class Door:
    """Counts who is inside."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._inside: Counter[tuple[str, str]] = Counter()
        self.shut = False

    @property
    def inside(self) -> int:
        """Streams that are open."""
        return self._inside.total()

    @contextlib.contextmanager
    def enter(self, principal: Principal) -> Iterator[None]:
        """Takes a place for as long as the block lasts. Raises Problem `unavailable` or `quota-exceeded`."""
        if self.shut:
            raise unavailable("this server is shutting down; ask again")
        if self.inside >= self._most:
            raise unavailable(
                f"this server has {self._most} streams open, which is all it takes", retry_after=RETRY_SECONDS
            )
        who = (principal.tenant, principal.name)
        if principal.name != ANYONE.name and self._inside[who] >= self._most_of_one:
            raise Problem(
                "quota-exceeded",
                f"this credential has {self._most_of_one} streams open on this server; close one first",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._inside[who] += 1
        try:
            yield
        finally:
            self._inside[who] -= 1
            if not self._inside[who]:
                del self._inside[who]
