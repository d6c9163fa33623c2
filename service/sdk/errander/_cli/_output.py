"""Printing: tables for people, JSON for programs, ids for pipes."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

Record = Mapping[str, Any]
Column = tuple[str, Callable[[Record], Any]]
"""A heading, and what stands below it."""

_COLOURS: Final = {
    "SUCCESS": "32",
    "FAILED": "31",
    "CANCELLED": "90",
    "RUNNING": "36",
    "RETRYING": "33",
    "paused": "33",
    "live": "32",
    "ok": "32",
    "degraded": "33",
    "unavailable": "31",
}
_WIDEST: Final = 60
"""Characters of one cell; what is longer is for `-o json`."""


def mode(args: Namespace) -> str:
    """How to print: what was asked for, else a table on a terminal and json in a pipe."""
    return args.output or ("table" if sys.stdout.isatty() else "json")


def print_list(args: Namespace, records: Iterable[Record], columns: Sequence[Column], key: str = "id") -> None:
    """Print records: a table with `columns`, one JSON array, one JSON line each, or the field `key` of each."""
    match mode(args):
        case "jsonl":
            for record in records:
                _line(json.dumps(record, ensure_ascii=False))
        case "id":
            for record in records:
                _line(str(record.get(key, "")))
        case "json":
            _line(json.dumps(list(records), ensure_ascii=False, indent=2))
        case _:
            _print_table(list(records), columns)


def print_one(args: Namespace, record: Record, key: str = "id") -> None:
    """Print one record: its fields below each other, or as JSON, or its id."""
    match mode(args):
        case "jsonl":
            _line(json.dumps(record, ensure_ascii=False))
        case "id":
            _line(str(record.get(key, "")))
        case "json":
            _line(json.dumps(record, ensure_ascii=False, indent=2))
        case _:
            _print_fields(record)


def print_text(text: str) -> None:
    """One line as it is, seen at once: whoever follows something waits for it."""
    print(_printable(text), flush=True)


def note(text: str) -> None:
    """A line for the person, beside the output."""
    print(f"errander: {text}", file=sys.stderr)


def moment(value: Any) -> str:
    """A time of the API to the second, UTC; nothing for nothing."""
    if not isinstance(value, str):
        return ""
    try:
        return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except ValueError:
        return value


def _print_table(records: list[Record], columns: Sequence[Column]) -> None:
    rows = [[_cell(read(record)) for _, read in columns] for record in records]
    if not rows:
        note("nothing found")
        return
    headings = [heading for heading, _ in columns]
    widths = [max(len(row[index]) for row in [headings, *rows]) for index in range(len(columns))]
    _line("  ".join(heading.ljust(width) for heading, width in zip(headings, widths, strict=True)).rstrip())
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        _line("  ".join(_coloured(text, text.strip()) for text in padded).rstrip())


def _print_fields(record: Record) -> None:
    shown = {name: value for name, value in record.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        if isinstance(value, dict | list):
            text = json.dumps(value, ensure_ascii=False, indent=2)
            text = text if len(text) > _WIDEST else json.dumps(value, ensure_ascii=False)
            text = text.replace("\n", "\n" + " " * (width + 2))
        else:
            text = moment(value) if name.endswith("_at") else str(value)
        _line(f"{name.ljust(width)}  {_coloured(_printable(text), text)}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = _printable(", ".join(map(str, value)) if isinstance(value, list) else str(value)).replace("\n", " ")
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _printable(text: str) -> str:
    """Without what could move a terminal's cursor or change its colours: some of it was written by strangers."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _coloured(text: str, word: str) -> str:
    colour = _COLOURS.get(word)
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and _takes_colour(sys.stdout) else text


def _takes_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _line(text: str) -> None:
    print(text)
