"""Values as people type them: durations, times, `name=value`. Each raises what argparse shows as a usage error."""

import argparse
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


def duration(text: str) -> float:
    """`90`, `90s`, `10m`, `1h30m`, `2d`: seconds."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write seconds, or for example 90s, 10m, 1h30m, 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def instant(text: str) -> datetime:
    """RFC 3339 with an offset, such as `2030-01-01T08:00:00Z`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no time; write for example 2030-01-01T08:00:00Z"
        raise argparse.ArgumentTypeError(message) from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset; append Z for UTC, or for example +02:00")
    return found


def pair(text: str) -> tuple[str, Any]:
    """`name=value`; the value is read as JSON, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def read(text: str) -> int:
        number = positive(text)
        if number > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most}")
        return number

    return read
