"""Python values as strict JSON text, the same for a payload that is sent and a result that is kept."""

import json
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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
