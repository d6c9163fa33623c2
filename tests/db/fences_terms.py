"""The conditions that stand in a statement's text, one by one, and the statement without each.

A condition is what follows WHERE, ON, WHEN, HAVING, AND or OR, or stands before AND or OR, as well as the clause that
locks rows. Each is named by the part of the statement that it stands in, because the same words may stand in two.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from db import statements

_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|[A-Za-z_:][\w.:]*|\d+(?:\.\d+)?|[()\[\],;]|[^\sA-Za-z_0-9()\[\],;'\"]+")
_COMMENT = re.compile(r"--[^\n]*")
_OPENS = frozenset({"WHERE", "ON", "WHEN", "HAVING", "AND", "OR"})
_ENDS = _OPENS | frozenset(
    [
        "SELECT",
        "FROM",
        "JOIN",
        "LEFT",
        "CROSS",
        "INNER",
        "THEN",
        "ELSE",
        "END",
        "GROUP",
        "ORDER",
        "LIMIT",
        "RETURNING",
        "UNION",
        "SET",
        "USING",
        "VALUES",
        "CASE",
        "AS",
        ",",
        ";",
    ]
)


class Condition(NamedTuple):
    """One condition: the part of the statement that it stands in, and its text in one spacing."""

    part: str
    text: str


class Mutant(NamedTuple):
    """A statement in which one condition has become a plain value, or nothing."""

    condition: Condition
    value: str
    text: str


@dataclass(frozen=True)
class _Item:
    """A word of the text, or what stands in parentheses."""

    start: int
    end: int
    word: str
    inside: tuple[_Item, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A condition and where it stands."""

    condition: Condition
    start: int
    end: int


def conditions(text: str) -> Counter[Condition]:
    """All of them, with how often each stands there."""
    return Counter(found.condition for found in _found(_COMMENT.sub("", text)))


def mutants(name: str) -> Iterator[Mutant]:
    """`db/sql/<name>.sql`, each time with one of its conditions made true, or made false, or left out if it locks."""
    text = _COMMENT.sub("", statements.source(name))
    for found in _found(text):
        yield from _without(text, found)


def _without(text: str, found: _Found) -> Iterator[Mutant]:
    words = text[found.start : found.end]
    if found.condition.text.startswith("FOR "):
        values = {"nothing": ""}
    elif words.startswith("'"):
        values = {"another": "'another'"}
    else:
        # the condition stays in the text, so that a statement has all its binds
        values = {"true": f"(true OR ({words}))", "false": f"(false AND ({words}))"}
    for value, instead in values.items():
        yield Mutant(found.condition, value, text[: found.start] + instead + text[found.end :])


def _found(text: str) -> Iterator[_Found]:
    tokens = _TOKEN.finditer(text)
    return _of_level(_level(tokens)[0], "")


def _level(tokens: Iterator[re.Match[str]]) -> tuple[tuple[_Item, ...], int]:
    """The items up to the parenthesis that ends this level, and where that is."""
    items: list[_Item] = []
    for token in tokens:
        if token[0] == ")":
            return tuple(items), token.end()
        if token[0] == "(":
            inside, end = _level(tokens)
            items.append(_Item(token.start(), end, "(", inside))
        else:
            items.append(_Item(token.start(), token.end(), token[0]))
    return tuple(items), items[-1].end


def _of_level(items: Sequence[_Item], part: str) -> Iterator[_Found]:
    """The conditions of one level, and of the levels inside it."""
    before: _Item | None = None
    segment: list[_Item] = []
    for place, item in enumerate([*items, _Item(0, 0, ";")]):
        word = item.word.upper()
        locks = before is not None and before.word.upper() == "FOR"
        if (word in _ENDS and not (locks and word == ",")) or (word == "FOR" and part):
            opened = before.word.upper() if before else ""
            if locks and before is not None:
                yield _Found(Condition(part, "FOR " + _shown(segment)), before.start, segment[-1].end)
            elif (
                segment
                and segment[0].word != "CONFLICT"
                and (
                    opened in _OPENS
                    or word in {"AND", "OR"}
                    or (word == "AS" and "IS" in [one.word for one in segment])
                )
            ):
                yield _Found(Condition(part, _shown(segment)), segment[0].start, segment[-1].end)
            before, segment = item, []
        else:
            segment.append(item)
        if item.inside:
            yield from _of_level(item.inside, _name(items, place) or part)


def _name(items: Sequence[_Item], place: int) -> str | None:
    """The name of the part whose parenthesis stands at `place`: `name AS (`, `name AS MATERIALIZED (`."""
    words = [item.word for item in items[max(0, place - 3) : place]]
    if words and words[-1] == "MATERIALIZED":
        words.pop()
    return words[-2] if len(words) > 1 and words[-1] == "AS" and words[-2].isidentifier() else None


def _shown(segment: Sequence[_Item]) -> str:
    """In one spacing; what holds conditions of its own is left out, because those are named by themselves."""
    shown = []
    for item in segment:
        if item.word != "(":
            shown.append(item.word)
        else:
            shown.append("(…)" if any(_of_level(item.inside, "")) else f"({_shown(item.inside)})")
    return " ".join(shown)
