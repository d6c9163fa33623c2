"""What no log line may hold: secrets are masked by the name of their field and by their form, wherever they stand.

A net under the rule, not the rule: payloads, results and credentials are not logged in the first place. It costs about
as much as rendering a line, and only lines that are written pass through it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

MASK: Final = "***"

_SECRET_NAMES = frozenset(
    {
        *("authorization", "proxy_authorization", "cookie", "set_cookie", "credentials", "private_key"),
        *("token", "password", "passwd", "passphrase", "pwd", "secret", "pepper", "api_key", "apikey", "access_key"),
    }
)
_SECRET_ENDINGS = tuple(f"_{name}" for name in ("token", "password", "secret", "pepper", "api_key", "cookie"))

_WORD = r"[\w.-]{0,64}(?:password|passwd|pwd|passphrase|secret|token|api_?key|access_?key|authorization|pepper)"
# Of each: letters that must stand in a text before the pattern is tried, the pattern, and what stays of a match.
_FORMS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    # Our own keys: the id stays, it is how a key is found.
    ("errander_", re.compile(r"(errander_[A-Za-z0-9]{8}_)[A-Za-z0-9]{16,64}(_[A-Za-z0-9]{1,12})?"), rf"\1{MASK}"),
    ("eyJ", re.compile(r"\beyJ[\w-]{5,}\.[\w-]{2,}\.[\w-]*"), f"{MASK}jwt"),
    ("whsec_", re.compile(r"\bwhsec_[\w+/=-]{8,}"), f"whsec_{MASK}"),
    ("PRIVATE KEY", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL), MASK),
    # The password of an address, up to the last @ of the word; a port followed by a path is none.
    (
        "://",
        re.compile(
            r"(?<![\w+.-])([a-zA-Z][\w+.-]{0,30}://[^\s/?#:@'\"]{0,256}:)(?!\d{1,5}(?:[/?#\s]|$))[^\s'\"]{0,512}@"
        ),
        rf"\1{MASK}@",
    ),
    ("earer", re.compile(r"\b([Bb]earer)\s+(?!errander_\w{8}_\*)[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    ("asic ", re.compile(r"\b([Bb]asic)\s+(?=\S*[\d=A-Z])[\w+/=]{12,}"), rf"\1 {MASK}"),
    # `password=…` of queries, forms and libpq, `"password": "…"` of JSON, and Python's form of it.
    ("=", re.compile(rf"(?i)\b({_WORD}\s?=\s?)(?:'[^']*'|\"[^\"]*\"|[^\s&,;'\"]+)"), rf"\1{MASK}"),
    (":", re.compile(rf"(?i)(['\"]{_WORD}['\"]\s?:\s?)(?:'[^']*'|\"[^\"]*\"|[^\s,}}'\"]+)"), rf"\1{MASK}"),
)
_DEPTH = 6

# C0, DEL and C1 without the line feed and the tab, which a traceback needs.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS = re.compile(r"[\t\n]")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: masks secrets in every field, however deep. Comes after `format_exc_info`."""
    return {name: _field(name, value, 0) for name, value in event.items()}


def redacted(text: str) -> str:
    """A text without the secrets that show by their form. Pure."""
    for needle, pattern, rest in _FORMS:
        if needle in text:
            text = pattern.sub(rest, text)
    return text


def one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor for the console: no text can begin a line of its own, or steer a terminal.

    JSON needs none of it: its strings hold no control character in clear.
    """
    return {_flat(str(name)): _lines(name, value) for name, value in event.items()}


def _lines(name: str, value: Any) -> Any:
    if name in ("exception", "stack") and isinstance(value, str):
        # indented, so that what begins in the first column is always a line of the log
        return "\n".join(f"    {_escaped(line)}" for line in value.split("\n"))
    return _flat(value) if isinstance(value, str) else value


def _flat(text: str) -> str:
    return _BREAKS.sub(_escape, _escaped(text))


def _escaped(text: str) -> str:
    return _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _is_secret(name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS)


def _field(name: object, value: Any, depth: int) -> Any:
    if isinstance(name, str) and _is_secret(name):
        return value if value is None or isinstance(value, bool) else MASK
    return _value(value, depth)


def _value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {_key(name): _field(name, item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item, depth + 1) for item in value]
    return redacted(_shown(value))


def _key(name: object) -> str:
    return redacted(str(name))


def _shown(value: object) -> str:
    show: Callable[[object], str] = repr
    try:
        return show(value)
    except Exception:  # what somebody else's object says of itself must not cost the line
        return f"<{type(value).__name__}>"
