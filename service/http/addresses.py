"""Which methods an address has: routes that share a path are separate, and each knows only its own."""

import re
from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.routing import BaseRoute, Route, compile_path

Table = list[tuple[re.Pattern[str], frozenset[str]]]
"""The pattern and the methods of every route."""


def table_of(routes: Iterable[BaseRoute]) -> Table:
    """The table of these routes, in their order."""
    return [
        (compile_path(route.path)[0], frozenset(route.methods or ())) for route in routes if isinstance(route, Route)
    ]


def methods_of(request: Request, table: Table) -> set[str]:
    """Every method of the request's address. One that is written out, as `/v1/jobs/batch`, is not also taken for the job
    `batch`.
    """
    found = list(_matching(request, table))
    fixed = [methods for pattern, methods in found if not pattern.groups]
    methods = {method for some in fixed or [methods for _, methods in found] for method in some}
    return methods | {"HEAD"} if "GET" in methods else methods


def is_fixed(request: Request, table: Table) -> bool:
    """Whether the request's address is one that a route has written out."""
    return any(not pattern.groups for pattern, _ in _matching(request, table))


def _matching(request: Request, table: Table) -> Iterator[tuple[re.Pattern[str], frozenset[str]]]:
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    return ((pattern, methods) for pattern, methods in table if pattern.match(path))
