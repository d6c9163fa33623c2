"""Headers that every answer has, whatever answers: what browsers may do with it, and who may keep it.

An answer that says something else itself (a page its policy, a file how long it keeps) is left alone.
"""

from collections.abc import Collection
from itertools import product
from typing import Final

from service.version import server_version

Pair = tuple[bytes, bytes]

COLLECTED: Final = "errander.headers"
"""Where a request collects headers that its answer has, whatever the answer is: a list of pairs of bytes."""

# What an API answers is never a page: nothing in it may load, run or be framed.
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
# `unsafe-inline` for styles only: the viewer of the description writes style attributes.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

EXPOSED: Final = (
    "Deprecation",
    "ETag",
    "Errander-Version",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""What a script of another origin may read of an answer."""
TAKEN: Final = ("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-Id")
"""What a script of another origin may send, beside what any may."""

_POLICY: Final = (b"content-security-policy", API_POLICY.encode())
# A tag is there to be asked about again: the answer may be kept, but only by who asked, and never used unasked.
_ASK_AGAIN: Final = (b"cache-control", b"private, no-cache")
_KEEP_NOTHING: Final = (b"cache-control", b"no-store")
# A year, as preload lists ask for. Subdomains are not this server's to speak for.
_ONLY_TLS: Final = (b"strict-transport-security", b"max-age=31536000")


def always() -> tuple[Pair, ...]:
    """What no answer is without."""
    return (
        (b"errander-version", server_version().encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-resource-policy", b"same-origin"),
    )


def _unless_said(has_policy: bool, says_how_long: bool, has_tag: bool, is_tls: bool) -> tuple[Pair, ...]:
    kept = () if says_how_long else (_ASK_AGAIN if has_tag else _KEEP_NOTHING,)
    return (*(() if has_policy else (_POLICY,)), *kept, *((_ONLY_TLS,) if is_tls else ()))


# All there are, made once: this is asked for every answer.
_CHOICES: Final = {said: _unless_said(*said) for said in product((False, True), repeat=4)}


def unless_said(names: Collection[bytes], scheme: str) -> tuple[Pair, ...]:
    """What an answer with the headers `names` has beside `always`. Pure."""
    said = b"content-security-policy" in names, b"cache-control" in names, b"etag" in names, scheme == "https"
    return _CHOICES[said]


def page_headers(seconds: int = 0) -> dict[str, str]:
    """Those of a page, which may be kept for `seconds`."""
    kept = {"Cache-Control": f"public, max-age={seconds}"} if seconds else {}
    return {"Content-Security-Policy": PAGE_POLICY, **kept}
