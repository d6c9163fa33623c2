"""Fields that several request bodies share: types, limits, and refusals as JSON Pointers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from errander import BackoffInvalid, parse_backoff
from service.http.problems import FieldError
from service.http.requests import is_key, moment
from service.http.strict_json import encode, escaped
from service.version import server_version

YEAR = 365 * 86_400.0
MAX_DELAY = 10 * YEAR
"""Seconds: no job is submitted further ahead than this."""
MAX_TIMEOUT = 7 * 86_400.0
"""Seconds an attempt may take."""
MAX_METADATA = 16 * 1024
"""Bytes of `metadata` as compact JSON."""
MAX_TAGS = 50
MAX_REASON = 1_000
"""Characters of the reason of a cancel, a replay or a pause."""

M = TypeVar("M", bound=BaseModel)


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise PydanticCustomError("time", "must be a time in RFC 3339 with an offset, as a string")
    try:
        return moment(value)
    except ValueError as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from None


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _backoff(value: Any) -> dict[str, Any]:
    unknown = next((name for name in value if name not in _BACKOFF_FIELDS), None) if isinstance(value, dict) else None
    if unknown is not None:
        raise PydanticCustomError("extra_forbidden", "unknown", {"inside": unknown})
    try:
        return parse_backoff(value).to_dict()
    except BackoffInvalid as error:
        # the field inside the object becomes part of the pointer
        raise PydanticCustomError("backoff", "{why}", {"why": str(error), "inside": error.field}) from None


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if len(encode(value).encode()) > MAX_METADATA:
        raise PydanticCustomError("too_large", "is larger than 16 KiB as JSON")
    return value


def _key(value: str) -> str:
    if not is_key(value):
        raise PydanticCustomError("format", "must be 1 to 255 visible ASCII characters")
    return value


_BACKOFF_FIELDS = ("kind", "base", "factor", "max", "jitter")
_WAIT = {"type": "number", "minimum": 0, "maximum": YEAR}
_JITTER = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "boolean"}]}
_BACKOFF = {
    "type": "object",
    "description": "How long to wait before try n + 1: in seconds, with the share `jitter` of it drawn at random. Only "
    "`exponential` uses `factor`.",
    "properties": {
        "kind": {"type": "string", "enum": ["exponential", "linear", "fixed"], "default": "exponential"},
        "base": _WAIT,
        "factor": {"type": "number", "minimum": 1, "maximum": 1000},
        "max": _WAIT,
        "jitter": _JITTER,
    },
    "additionalProperties": False,
}
"""What `errander.parse_backoff` takes, for the description of the API."""

Moment = Annotated[
    datetime,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]),
]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
PriorityName = Literal["high", "default", "low"]
Delay = Annotated[float, Field(ge=0, le=MAX_DELAY, allow_inf_nan=False)]
ExpiresIn = Annotated[float, Field(gt=0, le=MAX_DELAY, allow_inf_nan=False)]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, allow_inf_nan=False)]
WHOLE = BeforeValidator(_whole)
"""For an `int`: JSON has one kind of number, and a client may write five as 5.0."""
MaxAttempts = Annotated[int, Field(ge=1, le=1_000), WHOLE]
MaxCrashes = Annotated[int, Field(ge=1, le=100), WHOLE]
Backoff = Annotated[
    dict[str, Any],
    BeforeValidator(_backoff, json_schema_input_type=Annotated[dict[str, Any], WithJsonSchema(_BACKOFF)]),
]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=MAX_TAGS)]
Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Key = Annotated[str, AfterValidator(_key)]
Reason = Annotated[str, Field(max_length=MAX_REASON)]


class Body(BaseModel):
    """Base of request bodies: nothing is guessed, nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ReasonBody(Body):
    """Body of an action that may say why."""

    reason: Reason | None = None


def read(model: type[M], body: Mapping[str, Any], prefix: str = "") -> M | list[FieldError]:
    """`body` as `model`, or everything that is wrong with it."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        return [_refusal(item, prefix) for item in error.errors(include_url=False, include_input=False)]


# Where pydantic's words are about Python, ours are about the wire.
_CODES = {
    "extra_forbidden": "unknown-field",
    "missing": "required",
    "literal_error": "choice",
    "string_pattern_mismatch": "format",
}


def _refusal(item: Any, prefix: str) -> FieldError:
    kind: str = item["type"]
    steps = list(item["loc"])
    inside = item.get("ctx", {}).get("inside")
    if inside is not None:
        steps.append(inside)
    pointer = prefix + "".join(f"/{escaped(step)}" for step in steps)
    if kind == "extra_forbidden":
        detail = f"version {server_version()} of this server knows no such field"
    elif kind == "missing":
        detail = "is missing"
    else:
        detail = str(item["msg"]).replace("Input should", "should").replace("valid dictionary", "valid object")
    return FieldError(pointer, detail, _CODES.get(kind, kind.replace("_", "-")))
