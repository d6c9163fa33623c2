"""Durations and instants as callers give them, turned into what is kept and sent: seconds and RFC 3339 in UTC."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

Duration = float | int | timedelta
"""A number of seconds, or a `timedelta`."""

LONGEST_SECONDS: Final = 365 * 86_400.0
"""No wait and no timeout is longer than a year: what is meant then is a schedule, or a unit was mistaken."""


def to_seconds(value: Duration, what: str, *, longest: float | None = LONGEST_SECONDS) -> float:
    """`value` in seconds, finite, from 0 to `longest` (None: no upper limit).

    `what` names the value in the error. Raises `TypeError` for what is no duration (`True` is none) and
    `ValueError` for one out of range.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number of seconds or a timedelta, not {type(value).__name__}")
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"{what} must be a finite number of seconds")
    if seconds < 0:
        raise ValueError(f"{what} must not be negative, got {seconds:g} s")
    if longest is not None and seconds > longest:
        raise ValueError(f"{what} must be at most {longest:g} s, got {seconds:g} s")
    return seconds


def to_rfc3339(value: datetime, what: str) -> str:
    """An aware `datetime` as RFC 3339 in UTC with `Z`; a naive one is refused, because its zone would be a guess."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{what} needs a time zone: use datetime.now(UTC) or .replace(tzinfo=...)")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
