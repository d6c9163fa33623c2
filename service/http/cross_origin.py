"""Pages of other origins: none may use the API from a browser, unless its origin is named in the settings.

    asked         answers preflights, and lets scripts of the named origins read what they are answered
    is_forged     requests that a page of another origin sends without asking: simple forms, no credentials needed

Credentials are sent in `Authorization` by whoever has them, never by the browser itself. So nothing is allowed "with
credentials", and a page can do no more than its own script could do from anywhere.
"""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.http.headers import EXPOSED, TAKEN
from service.http.problems import Problem

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
_ORIGIN: Final = re.compile(r"^https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$")
_KEPT_SECONDS: Final = 7200
"""How long a browser keeps the answer to a preflight; none keeps it for longer."""


class _Asked(CORSMiddleware):
    """Preflights are answered as everything else is: nothing where it is allowed, a problem where it is not."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        headers = {
            name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")
        }
        if answer.status_code != 200:
            raise Problem("forbidden", bytes(answer.body).decode(), headers=headers)
        return Response(status_code=204, headers=headers)


def origins_of(text: str) -> tuple[str, ...]:
    """The origins of a setting. Raises ValueError naming what is none; there is no `*`, because it would also open servers
    that ask for no credentials to every page that is ever looked at on the same machine. Pure.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in found:
        if not _ORIGIN.match(origin):
            raise ValueError(
                f"{origin!r} is no origin; name each as browsers do, scheme, host in lower case and port, "
                "such as https://jobs.example.org"
            )
    return found


def asked(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app`, open to scripts of `origins`; as it is where there are none."""
    if not origins:
        return app
    return _Asked(
        app,
        allow_origins=tuple(origins),
        allow_methods=_METHODS,
        allow_headers=TAKEN,
        expose_headers=EXPOSED,
        max_age=_KEPT_SECONDS,
    )


def is_forged(headers: list[tuple[bytes, bytes]], origins: Collection[str]) -> bool:
    """Whether a browser sent this for a page of an origin that is not one of `origins`, nor this server. Pure.

    A form or an image of any page can send a request without a body to any address that the browser reaches, for example
    a server on the user's own machine that asks for no credentials. Browsers say so in `Sec-Fetch-Site`, older ones in
    `Origin` alone; other clients send neither.
    """
    said = dict(headers)
    site, origin = said.get(b"sec-fetch-site"), said.get(b"origin")
    if site in (b"same-origin", b"none") or (site is None and origin is None):
        return False
    text = (origin or b"").decode("latin-1")
    if text in origins:
        return False
    try:
        return site is not None or urlsplit(text).netloc.encode("latin-1") != said.get(b"host")
    except ValueError:  # it is no address, so no browser sent it for a page of ours
        return True
