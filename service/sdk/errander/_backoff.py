"""How long a failed job waits before its next start: three shapes, pure functions of the failure count.

The wait before try n + 1, where n is the number of failures so far, is d x (1 - jitter x random()):

    exponential   d = min(base x factor^(n-1), max)
    linear        d = min(base x n, max)
    fixed         d = min(base, max)

The cap comes before the jitter, so that jobs which all reached `max` still spread. Nothing here reads a clock or
a random source of its own; both come from the caller.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final

from ._durations import Duration, to_seconds
from ._errors import AuthoringError

LARGEST_FACTOR: Final = 1000.0
"""Beyond this the second wait is already the cap; a larger factor is a mistaken unit."""


class BackoffInvalid(AuthoringError, ValueError):
    """A backoff that cannot be used. `field` is the offending field, or None when it is the whole."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Exponential:
    """Waits that grow by `factor`: base, base x factor, base x factor², … up to `max`. Seconds or `timedelta`."""

    kind: ClassVar[str] = "exponential"
    base: Duration = 2.0
    factor: float = 2.0
    max: Duration = 600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _hold(self, "base", _duration(self.base, "base"))
        _hold(self, "factor", _number(self.factor, "factor", 1.0, LARGEST_FACTOR))
        _hold(self, "max", _duration(self.max, "max"))
        _hold(self, "jitter", _jitter(self.jitter))

    def delay(self, n: int, random: Callable[[], float]) -> float:
        """Seconds to wait after failure `n` (1 for the first). `random` returns a number in [0, 1)."""
        base, cap = _seconds(self.base), _seconds(self.max)
        try:
            wait = base * self.factor ** (_failures(n) - 1)
        except OverflowError:  # only a factor above 1 gets here: the cap is long reached, unless base is 0
            wait = cap if base else 0.0
        return _spread(min(wait, cap), self.jitter, random)

    def to_dict(self) -> dict[str, Any]:
        """The wire form, every field in seconds."""
        return {"kind": self.kind, "base": self.base, "factor": self.factor, "max": self.max, "jitter": self.jitter}


@dataclass(frozen=True, slots=True)
class Linear:
    """Waits that grow by `base`: base, 2 x base, 3 x base, … up to `max`. Seconds or `timedelta`."""

    kind: ClassVar[str] = "linear"
    base: Duration = 2.0
    max: Duration = 600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _hold(self, "base", _duration(self.base, "base"))
        _hold(self, "max", _duration(self.max, "max"))
        _hold(self, "jitter", _jitter(self.jitter))

    def delay(self, n: int, random: Callable[[], float]) -> float:
        """Seconds to wait after failure `n` (1 for the first). `random` returns a number in [0, 1)."""
        base, cap = _seconds(self.base), _seconds(self.max)
        try:
            wait = base * _failures(n)
        except OverflowError:  # n itself is beyond a float
            wait = cap if base else 0.0
        return _spread(min(wait, cap), self.jitter, random)

    def to_dict(self) -> dict[str, Any]:
        """The wire form, every field in seconds."""
        return {"kind": self.kind, "base": self.base, "max": self.max, "jitter": self.jitter}


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait after every failure: `base`, or `max` where that is less. Seconds or `timedelta`."""

    kind: ClassVar[str] = "fixed"
    base: Duration = 2.0
    max: Duration = 600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _hold(self, "base", _duration(self.base, "base"))
        _hold(self, "max", _duration(self.max, "max"))
        _hold(self, "jitter", _jitter(self.jitter))

    def delay(self, n: int, random: Callable[[], float]) -> float:
        """Seconds to wait after failure `n` (1 for the first). `random` returns a number in [0, 1)."""
        _failures(n)
        return _spread(min(_seconds(self.base), _seconds(self.max)), self.jitter, random)

    def to_dict(self) -> dict[str, Any]:
        """The wire form, every field in seconds."""
        return {"kind": self.kind, "base": self.base, "max": self.max, "jitter": self.jitter}


Backoff = Exponential | Linear | Fixed
"""Any of the three shapes."""

_KINDS: Final[dict[str, type[Backoff]]] = {"exponential": Exponential, "linear": Linear, "fixed": Fixed}
_FIELDS: Final = ("base", "factor", "max", "jitter")


def parse_backoff(value: Mapping[str, Any]) -> Backoff:
    """The backoff that a wire form such as `{"kind": "linear", "base": 5}` means; what is absent takes its default.

    A `factor` is taken for every kind, so that the kind of a job's backoff can be changed alone; only `exponential`
    uses it. Raises `BackoffInvalid` naming the field.
    """
    if not isinstance(value, Mapping):
        raise BackoffInvalid("a backoff is an object such as {'kind': 'exponential', 'base': 2}")
    kind = value.get("kind", "exponential")
    made_of = _KINDS.get(kind) if isinstance(kind, str) else None
    if made_of is None:
        raise BackoffInvalid(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}", "kind")
    given = {name: item for name, item in value.items() if name != "kind"}
    for name in given:
        if name not in _FIELDS:
            raise BackoffInvalid(f"a backoff has no field {name!r}; it has {', '.join(_FIELDS)}", name)
    if "factor" in given and made_of is not Exponential:
        _number(given.pop("factor"), "factor", 1.0, LARGEST_FACTOR)
    return made_of(**given)


def _hold(instance: object, field: str, value: float) -> None:
    """Set a field of a frozen dataclass while it is being built."""
    object.__setattr__(instance, field, value)


def _seconds(value: Duration) -> float:
    """A field that `__post_init__` has already turned into seconds, as the number it is."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _duration(value: Any, field: str) -> float:
    try:
        return to_seconds(value, field)
    except (TypeError, ValueError) as error:
        raise BackoffInvalid(str(error), field) from None


def _number(value: Any, field: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BackoffInvalid(f"{field} is a number, not {type(value).__name__}", field)
    if not low <= value <= high:  # also refuses NaN
        raise BackoffInvalid(f"{field} must be from {low:g} to {high:g}, got {value!r}", field)
    return float(value)


def _jitter(value: Any) -> float:
    """The share of the wait that is drawn at random; `True` is all of it, `False` none."""
    return _number(int(value) if isinstance(value, bool) else value, "jitter", 0.0, 1.0)


def _failures(n: int) -> int:
    if n < 1:
        raise ValueError(f"a wait follows a failure, so n is at least 1, got {n}")
    return n


def _spread(wait: float, jitter: float, random: Callable[[], float]) -> float:
    return wait * (1.0 - jitter * random())
