"""Whoever the guard turned away, in the log: a bounded number of lines a period for each kind, then how many more there were."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import structlog

from service.http.problems import Problem

_log = structlog.get_logger("errander.auth")

LINES: Final = 10
"""Refusals of one code that are told one by one in `SECONDS`: whoever sends many must not fill the disk."""
SECONDS: Final = 10.0


class Refusals:
    """Owned by the guard."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = float("-inf")
        self._told: Counter[str] = Counter()

    def tell(self, refusal: Problem, who: Callable[[], dict[str, Any]]) -> None:
        """Logs `refusal` and what `who` says of the request, which is not asked where no line is left."""
        if self._clock() >= self._began + SECONDS:
            self.settle()
            self._began = self._clock()
        self._told[refusal.code] += 1
        if self._told[refusal.code] <= LINES:
            _log.info("auth.refused", code=refusal.code, detail=refusal.detail, **who())

    def settle(self) -> None:
        """Logs how many refusals had no line, and begins anew."""
        for code, number in self._told.items():
            if number > LINES:
                _log.info("auth.refused_more", code=code, refusals=number - LINES)
        self._told.clear()
