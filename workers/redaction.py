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

# No text may make these slow, whoever wrote it: each passes over it once, and none begins again in what it has seen.

_WEB = r"(?i:https?|wss?|ftp)://"
_USER = r"[^\s/?#:'\"]*+"
# The address of something with a user, up to its password. On the web a port followed by a path is no password, for
# there a path may well hold an @; in the address of a server a slash before the last @ is the password's.
_ADDRESS = re.compile(
    rf"(?<![\w+.-])(?:{_WEB}(?!{_USER}:\d{{1,5}}(?:[/?#\s]|$))|(?!{_WEB})[a-zA-Z][\w+.-]{{0,30}}://){_USER}:"
)
_ADDRESS_ENDS = re.compile(r"\s|['\"](?:[\s,:;)\]}]|$)")  # a quote is a part of a password, unless a text ends there
# Of each: letters that must stand in a text before the pattern is tried, the pattern, and what stays of a match.
_FORMS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    # Our own keys: the id stays, it is how a key is found.
    ("errander_", re.compile(r"(errander_[A-Za-z0-9]{8}_)[A-Za-z0-9]{16,64}(_[A-Za-z0-9]{1,12})?"), rf"\1{MASK}"),
    (
        "eyJ",
        re.compile(r"(?<![\w-])(?=[\w-]++\.[\w-]{2,}+\.)([\w-]*?)\beyJ[\w-]{5,}+\.[\w-]++\.[\w-]*+"),
        rf"\1{MASK}jwt",
    ),
    ("whsec_", re.compile(r"\bwhsec_[\w+/=-]{8,}"), f"whsec_{MASK}"),
    ("PRIVATE KEY", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL), MASK),
    ("earer", re.compile(r"\b([Bb]earer)\s+(?!errander_\w{8}_\*)[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    ("asic ", re.compile(r"\b([Bb]asic)\s+(?=\S*[\d=A-Z])[\w+/=]{12,}"), rf"\1 {MASK}"),
)
# `password=…` of queries, forms and libpq, `"password": "…"` of JSON, also inside of another text, and Python's forms.
# Only how a name ends is looked at, and what begins its value.
_NAME = re.compile(
    r"(?i:password|passwd|pwd|passphrase|secret|token|api_?key|access_?key|authorization|pepper)"
    r"(?:\s?={1,2}\s?|\\{0,7}['\"]\s?:\s{0,8})"
)
# What may stand there: a text, perhaps with a prefix (b'…'); brackets, perhaps a call's (SecretStr('…')); else a word.
_QUOTE = re.compile(r"(?:[bBuU]|[bB]?[rR]|[rR][bB])?(\\{0,7})(['\"])")
_TEXT_ENDS = {quote: re.compile(rf"\\++{quote}?|{quote}|\n") for quote in "'\""}
_BRACKET = re.compile(r"(?:[A-Za-z_][\w.]{0,80})?[(\[{]")
_WORDS = {"=": re.compile(r"[^\s&,;'\"]+"), ":": re.compile(r"[^\s,}'\"]+")}
_PLAIN = re.compile(r"[^()\[\]{}'\"\\]+")
_LONGEST_BRACKETS = 4096  # without an end they are masked so far, and the rest of a traceback stays
_DEPTH = 6

# C0, DEL and C1 without the line feed and the tab, which a traceback needs.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS = re.compile(r"[\t\n]")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: masks secrets in every field, however deep. Comes after `format_exc_info`."""
    return {name: _field(name, value, 0) for name, value in event.items()}


def redacted(text: str) -> str:
    """A text without the secrets that show by their form. Pure. Takes time in proportion to the text."""
    if "://" in text:
        text = _without_passwords(text)
    for needle, pattern, rest in _FORMS:
        if needle in text:
            text = pattern.sub(rest, text)
    return _without_named(text) if "=" in text or ":" in text else text


def _without_passwords(text: str) -> str:
    """Masks the password of an address, up to the last @ of its word."""
    parts, kept, at = [], 0, 0
    while (address := _ADDRESS.search(text, at)) is not None:
        end = _ADDRESS_ENDS.search(text, address.end())
        at = len(text) if end is None else end.start()  # without an @, no address further on in the word has one
        last = text.rfind("@", address.end(), at)
        if last >= 0:
            parts += [text[kept : address.end()], MASK]
            kept = at = last
    return "".join(parts) + text[kept:]


def _without_named(text: str) -> str:
    parts, at = [], 0
    while (name := _NAME.search(text, at)) is not None:
        end = _end_of_value(text, name.end(), name[0].rstrip()[-1])
        parts += [text[at : name.end()], MASK if end > name.end() else ""]
        at = end
    return "".join(parts) + text[at:] if parts else text


def _end_of_value(text: str, at: int, sign: str) -> int:
    """Where the value that begins at `at` ends; `at` itself where there is none. `sign` stands before it: = or :."""
    if (quote := _QUOTE.match(text, at)) is not None:
        return _end_of_text(text, quote)
    if (bracket := _BRACKET.match(text, at)) is not None:
        # what has = before it is code or a `repr`, which are lines; JSON may be printed over several
        return _end_of_brackets(text, bracket.end(), within_line=sign == "=")
    word = _WORDS[sign].match(text, at)
    return at if word is None else word.end()


def _end_of_text(text: str, quote: re.Match[str]) -> int:
    """After the quote that ends it, else the end of the line: a line break in it would be written as an escape.

    Where it stands in a text itself, its quotes have n backslashes (1, 3, 7); more of them before a quote are content,
    which ends there only if they are whole escaped backslashes, of 2 (n + 1) each.
    """
    slashes = len(quote[1])
    for found in _TEXT_ENDS[quote[2]].finditer(text, quote.end()):
        if found[0] == "\n":
            return found.start()
        more = len(found[0]) - 1 - slashes
        if found[0].endswith(quote[2]) and more >= 0 and more % (2 * (slashes + 1)) == 0:
            return found.end()
    return len(text)


def _end_of_brackets(text: str, at: int, *, within_line: bool) -> int:
    """After the bracket that closes the one before `at`; brackets in texts are none."""
    last = min(len(text), at + _LONGEST_BRACKETS)
    if within_line and (line_break := text.find("\n", at, last)) >= 0:
        last = line_break
    depth = 1
    while depth and at < last:
        if (quote := _QUOTE.match(text, at)) is not None:
            at = _end_of_text(text, quote)
        elif (plain := _PLAIN.match(text, at, last)) is not None:
            at = plain.end()
        else:
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[at], 0)
            at += 1
    return at


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
    except BaseException:  # what somebody else's object says of itself must not cost the line
        return f"<{type(value).__name__}>"
