"""Health, version, the description of the API and its pages: served to everybody, without credentials."""

import asyncio
import html
import mimetypes
from functools import cache
from pathlib import Path as FilePath

from fastapi import APIRouter
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import revisions
from db.errors import DatabaseError, SchemaBehind
from service.api.documents import AliveDocument, ReadyDocument, VersionDocument
from service.http.guarded_route import GuardedRoute
from service.http.headers import page_headers
from service.http.problems import CODES, not_found
from service.http.requests import refuse_unknown
from service.openapi.document import build
from service.openapi.operations import PROBLEMS, operation
from service.representation import json_response
from service.services import services_of
from service.version import API_VERSION, server_version

router = APIRouter(route_class=GuardedRoute)

CHECK_SECONDS = 2.0
"""How long a readiness check waits for one server; probes give up soon after."""

_ASSETS = FilePath(__file__).parents[1] / "vendor" / "swagger-ui"


@router.get(
    "/healthz",
    operation_id="healthz",
    summary="The process is alive",
    responses={200: {"model": AliveDocument}},
    openapi_extra=operation(None),
)
async def healthz() -> Response:
    """Looks at nothing but itself; like the other probe it takes any query, because some probers add one."""
    return json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Requests can be served",
    responses={200: {"model": ReadyDocument}, 503: {"model": ReadyDocument, "description": "`unavailable`"}},
    openapi_extra=operation(None),
)
async def readyz(request: Request) -> Response:
    """503 only for `unavailable`: PostgreSQL away, or its schema behind. Redis away is `degraded`."""
    services = services_of(request)
    (postgres, schema), redis = await asyncio.gather(_check_postgres(request), _check_redis(request))
    if services.waiting.stopping or postgres != "ok" or schema != "ok":
        status = "unavailable"
    else:
        status = "ok" if redis == "ok" else "degraded"
    checks = {"postgres": postgres, "redis": redis, "schema": schema}
    return json_response(
        {"status": status, "checks": checks},
        503 if status == "unavailable" else 200,
        {"Cache-Control": "no-store"},
    )


async def _check_postgres(request: Request) -> tuple[str, str]:
    """What PostgreSQL and its schema are: `ok`, `unavailable`, `behind`, or `unknown` where it cannot be asked."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            current = await revisions.is_current(services_of(request).database.link)
    except SchemaBehind:
        return "ok", "behind"
    except (DatabaseError, TimeoutError):
        return "unavailable", "unknown"
    return "ok", "ok" if current else "behind"


async def _check_redis(request: Request) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await services_of(request).waiting.ping()
    except (RedisError, OSError, TimeoutError):
        return "unavailable"
    return "ok"


@router.get(
    "/v1/version",
    operation_id="get_version",
    summary="The version of this server",
    responses={200: {"model": VersionDocument}, 422: {"description": "", PROBLEMS: ["validation-failed"]}},
    openapi_extra=operation(None),
)
async def version(request: Request) -> Response:
    """The server's version, and that of the API."""
    refuse_unknown(request)
    return json_response({"version": server_version(), "api": API_VERSION})


@router.get("/openapi.json", include_in_schema=False, openapi_extra=operation(None))
async def openapi(request: Request) -> Response:
    """The description of the API."""
    refuse_unknown(request)
    described = build(request.app)
    root = request.scope.get("root_path", "")
    return json_response(described | {"servers": [{"url": root}]} if root else described)


@router.get("/problems/{code}", include_in_schema=False, openapi_extra=operation(None))
async def problem_page(request: Request, code: str) -> Response:
    """What a problem's `type` leads to."""
    refuse_unknown(request)
    known = CODES.get(code)
    if known is None:
        raise not_found(f"problem {code[:100]!r}")
    title, text = html.escape(known.title), html.escape(known.page)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{code}</title>'
        f"<h1>{title}</h1><p><code>{code}</code>, HTTP status {known.status}</p><p>{text}</p></html>\n"
    )
    return HTMLResponse(page, headers=page_headers(3600))


@router.get("/docs", include_in_schema=False, openapi_extra=operation(None))
async def docs(request: Request) -> Response:
    """The description of the API, to read and to try; everything it loads comes from this server."""
    refuse_unknown(request)
    root = html.escape(request.scope.get("root_path", ""), quote=True)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Errander API</title>'
        f'<link rel="stylesheet" href="{root}/docs/swagger-ui.css">'
        f'<link rel="icon" href="{root}/docs/favicon-32x32.png"></head><body><div id="swagger-ui"></div>'
        f'<script src="{root}/docs/swagger-ui-bundle.js"></script>'
        f'<script src="{root}/docs/start.js"></script></body></html>\n'
    )
    return HTMLResponse(page, headers=page_headers())


# A file of its own, because the policy of the page allows no script inside it.
_START = (
    "window.ui = SwaggerUIBundle({url: new URL('../openapi.json', document.currentScript.src).href,"
    " dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null,"
    " presets: [SwaggerUIBundle.presets.apis], layout: 'BaseLayout'});\n"
)


@router.get("/docs/{name}", include_in_schema=False, openapi_extra=operation(None))
async def docs_asset(request: Request, name: str) -> Response:
    """A file of the viewer."""
    refuse_unknown(request)
    if name == "start.js":
        return Response(_START, media_type="text/javascript")
    files = _asset_files()
    if name not in files:
        raise not_found(f"file {name[:100]!r}")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    content = await asyncio.to_thread(files[name].read_bytes)
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=86400"})


@cache
def _asset_files() -> dict[str, FilePath]:
    """The vendored files by name: what is not among them is not served."""
    return {path.name: path for path in _ASSETS.glob("*") if path.suffix in {".css", ".js", ".png"}}


@router.get("/", include_in_schema=False, openapi_extra=operation(None))
async def root(request: Request) -> Response:
    """Leads to the description."""
    refuse_unknown(request)
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs", status_code=307)
