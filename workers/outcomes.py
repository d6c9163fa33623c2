"""What an attempt ended with, as small frozen values, checked so that PostgreSQL takes every one of them.

One bad outcome must never fail the flush of its neighbours: results are strict JSON, without NUL and lone surrogates,
at most 64 deep and 1 MiB long, with numbers that `jsonb` takes; messages and tracebacks are scrubbed and cut. What a
task hands over (errors, results, progress) is code of its own, whose methods may raise anything: nothing here does.
"""

import json
import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from db.lifecycle import CancelledBy, ErrorKind
from errander import Cancel, Fail, ResultInvalid, Retry, Snooze, Task

MAX_RESULT_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_MESSAGE: Final = 2048
MAX_TRACEBACK: Final = 16 * 1024
MAX_LOG_TEXT: Final = 16 * 1024
"""Characters of a text in one line of a job's log: it is filtered and written while the jobs beside it wait."""
_MAX_PROGRESS_MESSAGE: Final = 500

# jsonb keeps numbers as `numeric`: 131,072 digits before the point, 16,383 after it (PostgreSQL manual 8.1.2).
_MAX_EXPONENT: Final = 131_000
_MAX_DEFER: Final = 365 * 86_400.0
"""Seconds: as far ahead as the SDK lets code ask for."""
_OUR_MODULES: Final = frozenset(
    {"workers.attempt", "workers.child", "__main__", "concurrent.futures.thread"}
)  # __main__: python -m workers.child
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It returned; `result` is JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised, ran out of time, or its payload or result was refused. `defer` seconds instead of the backoff."""

    kind: ErrorKind
    type: str
    message: str
    traceback: str | None = None
    final: bool = False
    defer: float | None = None


@dataclass(frozen=True, slots=True)
class Crashed:
    """The child process that ran it died."""

    message: str


@dataclass(frozen=True, slots=True)
class Snoozed:
    """It asked to run again in `defer` seconds."""

    defer: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It ended after a cancel request, or asked for it itself."""

    by: CancelledBy
    reason: str | None


@dataclass(frozen=True, slots=True)
class GivenBack:
    """It goes back into the queue at no cost, to run no sooner than in `delay` seconds."""

    reason: str
    begun: bool
    delay: float = 0.0


Outcome = Succeeded | Failed | Crashed | Snoozed | Cancelled | GivenBack


class ResultRefused(ValueError):
    """A result that cannot be stored; the message says why."""


def encode_result(value: Any) -> str:
    """Plain JSON values as text that `jsonb` takes. Raises ResultRefused, and TypeError for other values."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ResultRefused(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ResultRefused(f"it is not JSON: {error}") from None
    check_json_text(text, value)
    return text


def check_json_text(text: str, value: Any) -> None:
    """Whether `jsonb` takes `text`, the JSON of `value`. Raises ResultRefused."""
    if len(text) > MAX_RESULT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_RESULT_BYTES:
        raise ResultRefused(f"it is longer than {MAX_RESULT_BYTES} bytes of JSON")
    if "\\u0000" in text and _holds_nul(value):
        raise ResultRefused("it holds a NUL character, which PostgreSQL cannot store")
    if _SURROGATE.search(text):
        raise ResultRefused("it holds half of a surrogate pair, which is no character")
    if text[:1] in "[{":
        _check_tree(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value)


def _holds_nul(value: Any) -> bool:
    # `\\u0000` in JSON text is a NUL or an escaped backslash before `u0000`; the value tells which.
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            stack += item
    return False


def _check_tree(value: Any) -> None:
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ResultRefused(f"it is nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for holder in level:
            for item in holder.values() if isinstance(holder, dict) else holder:
                if isinstance(item, dict | list | tuple):
                    below.append(item)
                elif isinstance(item, int | float) and not isinstance(item, bool):
                    _check_number(item)
        level = below


def _check_number(value: float) -> None:
    if isinstance(value, int):
        # bits to decimal digits; `str` of a huge int is refused by Python itself
        if value.bit_length() > _MAX_EXPONENT * math.log2(10):
            raise ResultRefused("it holds a number with too many digits")
    elif not math.isfinite(value):
        raise ResultRefused("it holds NaN or an infinity, which JSON does not have")


def scrub(text: str, limit: int) -> str:
    """Text that PostgreSQL takes, at most `limit` characters: its end is kept, because that is where errors say why."""
    clean = _SURROGATE.sub("\ufffd", text.replace("\0", "\ufffd"))
    return clean if len(clean) <= limit else "…" + clean[-(limit - 1) :]


def words(value: object, limit: int = MAX_MESSAGE) -> str:
    """What an object of somebody else's says of itself, scrubbed. Raises nothing, whatever its `__str__` does."""
    try:
        return scrub(str(value), limit)
    except BaseException:  # code of the task's: SystemExit is an error like any other
        return "<its message could not be made>"


def log_value(value: Any) -> Any:
    """A value as a line of a job's log takes it: a text that is too long loses its beginning."""
    return scrub(value, MAX_LOG_TEXT) if isinstance(value, str) else value


def described(error: BaseException) -> str:
    """An error's type and message. Raises nothing."""
    return f"{_type_name(error)}: {words(error)}"


def failure(error: BaseException, *, final: bool = False, defer: float | None = None) -> Failed:
    """The failure of an attempt that raised `error`. Raises nothing, whatever the error's own methods do."""
    trace = traced(error, _from_task_code)
    return Failed(ErrorKind.ERROR, _type_name(error), words(error), trace, final, defer)


def traced(
    error: BaseException, part: Callable[[TracebackType | None], TracebackType | None] = lambda whole: whole
) -> str | None:
    """An error's traceback, or the part of it that `part` chooses, scrubbed; None where it cannot be had. Raises nothing."""
    try:
        lines = traceback.format_exception(type(error), error, part(error.__traceback__), limit=50)
        return scrub("".join(lines), MAX_TRACEBACK)
    except BaseException:
        return None


def _type_name(error: BaseException) -> str:
    try:
        return scrub(type(error).__qualname__, 200)
    except BaseException:  # a metaclass is code of the task's too
        return "BaseException"


def returned(task: Task[..., Any], value: Any) -> Succeeded | Failed:
    """The outcome of code that returned `value`. Raises nothing, whatever the methods of its objects do."""
    try:
        try:
            return Succeeded(encode_result(value))
        except TypeError:  # not plain JSON: dataclasses, models, dates
            text = task.dump_result(value).decode()
            check_json_text(text, json.loads(text))
            return Succeeded(text)
    except BaseException as error:
        why = words(error) if isinstance(error, ResultRefused | ResultInvalid) else described(error)
        message = scrub(f"its result cannot be stored: {why}", MAX_MESSAGE)
        return Failed(ErrorKind.RESULT, "ResultRefused", message, final=True)


def raised(error: BaseException) -> Outcome:
    """The outcome of code that raised `error`, without anybody having asked it to stop. Raises nothing."""
    try:
        return _instructed(error) or failure(error)
    except BaseException:  # its attributes are code of the task's too
        return failure(error)


def _instructed(error: BaseException) -> Outcome | None:
    """What a signal asks for; None where `error` is none, or does not say what."""
    if isinstance(error, Retry):
        return failure(error, defer=_defer(getattr(error, "defer", None)))
    if isinstance(error, Snooze):
        defer = _defer(getattr(error, "defer", None))
        return None if defer is None else Snoozed(defer)
    if isinstance(error, Fail):
        return failure(error, final=True)
    if isinstance(error, Cancel):
        return Cancelled(CancelledBy.TASK, words(getattr(error, "reason", "")) or None)
    if type(error).__module__ == "arq.worker" and type(error).__name__ == "Retry":
        return failure(error, defer=_defer((getattr(error, "defer_score", None) or 0) / 1000))
    return None


def _defer(seconds: object) -> float | None:
    """A wait that PostgreSQL can add to a time; None for what is none, as an attribute set by hand may be."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:  # nor NaN
        return None
    return float(min(seconds, _MAX_DEFER))


def _from_task_code(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of the worker that called the task: they say nothing about the error."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get("__name__") in _OUR_MODULES:
        inner = inner.tb_next
    return inner or trace


def measured(done: object, total: object, message: object) -> dict[str, Any]:
    """Progress as JSON values. What is no number is left out: progress must never fail a job."""
    return {
        "done": done if _is_number(done) else None,
        "total": total if _is_number(total) else None,
        "message": None if message is None else words(message, _MAX_PROGRESS_MESSAGE),
    }


def _is_number(value: object) -> bool:
    # NaN and the infinities are no JSON; numbers of this size are no progress
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18


def error_entry(outcome: Failed | Crashed) -> str:
    """An entry of `errors` as JSON text; attempt, time and worker are added by the statement."""
    if isinstance(outcome, Crashed):
        entry = {
            "kind": "crash",
            "type": "ProcessDied",
            "message": scrub(outcome.message, MAX_MESSAGE),
            "traceback": None,
        }
    else:
        entry = {
            "kind": str(outcome.kind),
            "type": outcome.type,
            "message": outcome.message,
            "traceback": outcome.traceback,
        }
    return json.dumps(entry)
