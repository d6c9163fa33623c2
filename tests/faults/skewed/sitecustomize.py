"""Shifts the wall clock of the Python process that finds this file on its path, by FAULT_CLOCK_SKEW seconds.

The monotonic clock stays as it is, as on a machine whose time of day is wrong. Imported by the interpreter itself at its
start, before anything else has taken a reference to a clock.
"""

import datetime as dt
import os
import time
from typing import Self

_SKEW = float(os.environ.get("FAULT_CLOCK_SKEW", "0"))
_time, _time_ns, _Real = time.time, time.time_ns, dt.datetime


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Real)


class Skewed(dt.datetime, metaclass=_Kind):
    """`datetime` on a wrong clock; every datetime is one of these."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


if _SKEW:
    time.time = lambda: _time() + _SKEW
    time.time_ns = lambda: _time_ns() + int(_SKEW * 1e9)
    dt.datetime = Skewed  # type: ignore[misc]
