"""JSON as this API reads and writes it: strict, so that everything accepted can be stored and read back unharmed.

Python's reader takes more than RFC 8259 allows and more than `jsonb` can hold. Here NaN, Infinity, names that appear
twice in an object, NUL and lone surrogates, numbers beyond a double or 4,300 digits, and values nested deeper than 64
are refused. Integers of any permitted size stay exact.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import to_json

from service.http.problems import FieldError, Problem, invalid, invalid_field

MAX_DEPTH = 64
"""Arrays and objects inside each other."""
MAX_NESTED = 1_500_000
"""Arrays and objects of a body. Each takes some 200 bytes of memory, however short its text is; a batch of 32 MiB full of
records of 22 bytes has as many."""
MAX_VALUES = 5_000_000
"""Values of a body, at up to 60 bytes each: with the objects, what a body of 32 MiB may at worst take ten times its size for."""


class _NotJsonError(Exception):
    """A grammar error with a message for the client."""


class _NumberError(Exception):
    """A number that cannot be kept."""


def _constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is not a JSON value")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NumberError(text)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _NotJsonError(f"the name {name[:100]!r} appears twice in one object")
            seen.add(name)
    return members


def _int(text: str) -> int:
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_YIELDING = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant, parse_int=_int)
"""A call of a function in Python is where other threads get their turn; without one a million integers are read in one go."""


def decode(raw: bytes, *, yielding: bool = False) -> Any:
    """The value of a body. Raises Problem: `malformed-json`, `payload-too-large` or `validation-failed`.

    `yielding` is for a thread of its own: others go on meanwhile, and integers take twice as long.
    """
    _refuse_too_many(raw)
    decoder = _YIELDING if yielding else _DECODER
    try:
        value = decoder.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"the body is not UTF-8: byte {error.start} cannot be read") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed-json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except _NotJsonError as error:
        raise Problem("malformed-json", str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    except (_NumberError, ValueError):  # ValueError: more digits than Python converts
        raise invalid_field(
            "", "a number is too large to be kept: at most 4,300 digits, or a double's range", "number-out-of-range"
        ) from None
    # Both checks walk the whole value, so they are made only where the text could hold what they look for.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth_exceeded(value):
        raise _too_deep()
    if b"\\u" in raw:
        errors = list(unstorable(value))
        if errors:
            raise invalid(errors)
    return value


def encode(value: Any) -> str:
    """A value that `decode` could have returned, or a document of ours, as compact JSON text."""
    return to_json(value).decode()


def _refuse_too_many(raw: bytes) -> None:
    """Counts what would be made before any of it is. Marks inside texts count too, so this never takes long: telling them
    apart is what decoding is for.
    """
    if len(raw) < 2 * MAX_NESTED:
        return
    nested = raw.count(b"{") + raw.count(b"[")
    if nested > MAX_NESTED or nested + raw.count(b",") > MAX_VALUES:
        raise Problem(
            "payload-too-large",
            f"the body has more than {MAX_NESTED} of {{ and [, or more than {MAX_VALUES} of these and commas, counted in texts "
            "too; send it in several parts",
        )


def _too_deep() -> Problem:
    return Problem("payload-too-large", f"the body is nested deeper than {MAX_DEPTH}")


def _depth_exceeded(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
    return bool(level)


def _parts(whole: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return whole.values() if isinstance(whole, dict) else whole


def unstorable(value: Any, pointer: str = "") -> Iterator[FieldError]:
    """Texts in `value` that PostgreSQL cannot hold: NUL, and halves of a surrogate pair."""
    if isinstance(value, str):
        if _unstorable_text(value):
            yield FieldError(pointer, "a text holds NUL or half of a surrogate pair", "text-not-storable")
    elif isinstance(value, dict):
        for name, part in value.items():
            if _unstorable_text(name):
                yield FieldError(pointer, "a name holds NUL or half of a surrogate pair", "text-not-storable")
            else:
                yield from unstorable(part, f"{pointer}/{escaped(name)}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from unstorable(part, f"{pointer}/{index}")


def _unstorable_text(text: str) -> bool:
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)


def escaped(token: object) -> str:
    """One step of a JSON Pointer (RFC 6901)."""
    return str(token).replace("~", "~0").replace("/", "~1")
