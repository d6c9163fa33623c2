"""The API as an ASGI application: `uvicorn service.main:create_app --factory`. Only wiring."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

from fastapi import APIRouter, FastAPI

from db.engine import Database
from service.api import (
    audit,
    auth,
    consistency,
    events,
    explain,
    job_actions,
    job_lists,
    jobs,
    keys,
    queues,
    stats,
    system,
    tasks,
    workers,
)
from service.auth.guard import Guard
from service.auth.jwks import KeySet, fetch_from
from service.auth.tokens import Tokens
from service.catalogue import Catalogue
from service.companion import companion_worker
from service.fresh import Fresh
from service.http import handlers
from service.http.addresses import table_of
from service.http.compression import Compression
from service.http.guarded_route import refuse_undeclared
from service.http.middleware import Frame
from service.http.plain_route import refuse_dependencies
from service.limits.queued import QueueLimit
from service.limits.rate_limits import RateLimits
from service.live.hub import Live
from service.migrating import bring_up_when_possible
from service.services import Services
from service.settings import ApiSettings, load, pepper_of
from service.submit.accepting import Accepting
from service.submit.batches import Batches
from service.version import server_version
from service.waiting import Waiting
from workers import garbage, logs
from workers.publisher import Publisher
from workers.settings import DrainSettings

CONNECTIONS = 10
"""Connections of one API process for its statements; composed queries have a few of their own."""

# Lists first: `/v1/jobs/batch` and its like must not be taken for the job `batch`.
_ROUTERS: tuple[APIRouter, ...] = (
    job_lists.router,
    jobs.router,
    job_actions.router,
    queues.router,
    tasks.router,
    workers.router,
    stats.router,
    consistency.router,
    events.router,
    explain.router,
    auth.router,
    keys.router,
    audit.router,
    system.router,
)


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The application; settings come from the environment unless given. Raises SettingsRefusedError."""
    chosen = settings or load()
    if settings is None:
        logs.set_up(chosen.log_format, chosen.log_level)
    app = FastAPI(
        title="Errander",
        version=server_version(),
        lifespan=lambda app: _lifespan(app, chosen),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        root_path=chosen.root_path,
        # looks for a tracer in the environment at every request, and there is none
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in _ROUTERS:
        app.include_router(router)
    refuse_undeclared(app)
    handlers.install(app)
    app.add_middleware(Compression)
    app.add_middleware(Frame, origins=chosen.cors_origins, hosts=chosen.checked_hosts)
    if settings is None:
        garbage.settle()
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, settings: ApiSettings) -> AsyncIterator[None]:
    """Opens what the routes share. PostgreSQL and Redis may be away: the API comes up and says so."""
    refuse_dependencies(app)
    url = settings.database_url.get_secret_value()
    redis_url = settings.redis_url.get_secret_value()
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(url, schema=settings.db_schema, size=CONNECTIONS, ready=False)
        stack.push_async_callback(database.close)
        publisher = Publisher(redis_url, window=settings.hint_window, horizon=settings.hint_horizon_seconds)
        publisher.start()
        stack.push_async_callback(publisher.stop)
        waiting = Waiting(database.link, redis_url)
        waiting.start()
        stack.push_async_callback(waiting.stop)
        fresh = Fresh()
        stack.push_async_callback(fresh.close)
        limits = RateLimits(settings)
        stack.push_async_callback(limits.stop)
        queued = QueueLimit.of(settings, database, fresh)
        stack.push_async_callback(queued.stop)
        accepting = Accepting(database, publisher, hours=settings.idempotency_hours)
        stack.push_async_callback(accepting.stop)
        guard = await _guard(stack, settings, database, limits)
        live = Live(database, waiting, guard.still_good)
        live.start()
        stack.push_async_callback(live.stop)
        app.state.services = Services(
            settings=settings,
            database=database,
            publisher=publisher,
            waiting=waiting,
            catalogue=Catalogue(database.link, settings.lease_seconds),
            fresh=fresh,
            limits=limits,
            queued=queued,
            guard=guard,
            accepting=accepting,
            batches=Batches(database, hours=settings.idempotency_hours),
            live=live,
            methods=table_of(route for router in _ROUTERS for route in router.routes),
        )
        if settings.migrate == "auto":
            migrating = asyncio.create_task(bring_up_when_possible(settings), name="errander.migrate")
            stack.push_async_callback(_cancelled, migrating)
        if settings.with_worker:
            await stack.enter_async_context(companion_worker(DrainSettings().grace))
        stack.enter_context(_released_by_signals(waiting))
        yield


async def _guard(
    stack: contextlib.AsyncExitStack, settings: ApiSettings, database: Database, limits: RateLimits
) -> Guard:
    """What lets requests in, with the one kind of tokens that the settings name."""
    tokens, secret = None, settings.jwt_secret
    published = None if settings.jwks_url is None else KeySet(fetch_from(settings.jwks_url))
    if published is not None:
        stack.push_async_callback(published.close)
    if secret is not None or published is not None:
        tokens = Tokens(
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            longest=settings.jwt_max_age_seconds,
            secret=None if secret is None else secret.get_secret_value().encode(),
            keys=published,
        )
    guard = Guard(
        database.link, is_off=settings.auth == "off", tokens=tokens, pepper=pepper_of(settings), limits=limits
    )
    guard.start()
    stack.push_async_callback(guard.stop)
    return guard


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def _released_by_signals(waiting: Waiting) -> Iterator[None]:
    """Lets held answers go on SIGTERM and SIGINT. A server ends its lifespan only after the last answer, so it is told
    earlier: the server's own handlers are in place by now, and are called first.
    """
    former: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if callable(handler) and handler is not signal.default_int_handler:
                former[number] = handler
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        former[signal.Signals(number)](number, frame)
        loop.call_soon_threadsafe(waiting.release)

    for number in former:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
