"""Python values as strict JSON text, the same for a payload that is sent and a result that is kept."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def dump_json(value: Any) -> bytes:
    """`value` as JSON text; models, dataclasses, dates, sets and the like as pydantic writes them.

    Raises `ValueError` for what JSON cannot say: NaN and infinities, cycles, lone surrogates, unknown types.
    """
    try:
        text = to_json(value, inf_nan_mode="constants")
    except (PydanticSerializationError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    if b"NaN" in text or b"Infinity" in text:  # perhaps only inside a string: then this passes
        json.loads(text, parse_constant=_refuse_constant)
    return text


def dump_body(body: Any) -> bytes:
    """A request body as JSON text. Raises `ValueError` with a JSON pointer to what cannot be written."""
    try:
        return dump_json(body)
    except ValueError as error:
        where, why = _culprit(body, error)
        raise ValueError(f"{where}: {why}" if where else str(why)) from error


def _culprit(value: Any, error: ValueError) -> tuple[str, ValueError]:
    """The smallest part of `value` that cannot be written, as a JSON pointer, and why."""
    where = ""
    above: set[int] = set()
    while id(value) not in above:  # a cycle has no smallest part
        above.add(id(value))
        is_row = isinstance(value, list | tuple)
        parts = value.items() if isinstance(value, Mapping) else enumerate(value) if is_row else ()
        for name, part in parts:
            try:
                dump_json(part)
            except ValueError as inside:
                step = str(name).replace("~", "~0").replace("/", "~1")  # RFC 6901, 3
                where, value, error = f"{where}/{step}", part, inside
                break
        else:
            break
    return where, error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
