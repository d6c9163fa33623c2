"""What the head of a request must be, its address and headers, before anything looks at what it asks for. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from service.http.headers import Pair
from service.http.problems import Problem

MAX_TARGET: Final = 16 * 1024
"""Bytes of path and query: 200 ids, or ten filters of 1,000 characters, fit."""
MAX_HEAD: Final = 32 * 1024
"""Bytes of the first line and all headers, as much as common proxies pass on."""
MAX_HEADERS: Final = 100
"""Headers of one request."""

OLD: Final = ("0.9", "1.0")
"""Versions of HTTP whose requests need not name a host, and know no chunks."""
# RFC 3986, 3.2: a name or an address, perhaps a port; nothing that a log, a page or another server could take for more
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


def too_long(target: bytes, headers: Sequence[Pair] | None) -> Problem | None:
    """The refusal of a head for its size, as far as it has come; None where it has room."""
    if len(target) > MAX_TARGET:
        return Problem("uri-too-long", f"path and query have {len(target)} bytes, and at most {MAX_TARGET} are read")
    if headers is None or len(headers) > MAX_HEADERS:
        return too_large()
    return too_large() if sum(len(name) + len(value) for name, value in headers) > MAX_HEAD else None


def too_large() -> Problem:
    """The refusal of a head that is larger than any."""
    return Problem("headers-too-large", f"the head of a request has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers")


def misframed(headers: Sequence[Pair], version: str) -> Problem | None:
    """The refusal of a complete head that servers could read in different ways (RFC 9112, 3.2 and 6.1): who is asked, and
    where the body ends. None where there is one way. Names of headers are in lower case.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version not in OLD):
        return Problem("malformed-request", f"the header Host must be there once, not {len(hosts)} times")
    if hosts and not _HOST.fullmatch(hosts[0].strip(b" \t")):
        return Problem("malformed-request", "the header Host must be a name or an address, with a port or without")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and version in OLD:
        return Problem("malformed-request", f"HTTP/{version} has no Transfer-Encoding; send Content-Length")
    if codings and b",".join(codings).strip(b" \t").lower() != b"chunked":
        return Problem("malformed-request", "Transfer-Encoding must be chunked, and nothing else is read")
    return None
