"""A whole deployment in one folder: two servers, APIs, workers, and a proxy on every link between them."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import asyncpg
import httpx
from redis.exceptions import RedisError

from db.engine import Database
from db.migrate import upgrade
from service.auth.issuing import Wish, issue
from service.chaos import arming
from service.chaos.fleet import Fleet, Member
from service.chaos.options import Options
from service.chaos.plan import FAILPOINTS
from service.chaos.proxy import Proxy
from service.chaos.servers import Postgres, Server, Valkey
from service.chaos.workload import POOLS, TENANTS
from service.embedded import EmbeddedPostgres, EmbeddedValkey
from service.supervise import last_lines

APIS: Final = 2
READY_SECONDS: Final = 120.0
"""How long everybody may take to be ready; an idle machine needs five seconds."""
_POLL_SECONDS = 0.1

_POSTGRES_OPTIONS = {
    # What is tried here is the death of processes, which the operating system's cache outlives, not that of machines.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "max_wal_size": "512MB",
}
_VALKEY_OPTIONS = {"appendonly": "no"}  # so that a restart is a loss


class NotReadyError(Exception):
    """The deployment did not come up; the message says who, with the end of its log."""


class Stack:
    """`async with` it: everything runs and is ready. Afterwards nothing of it runs, however the block was left."""

    def __init__(self, options: Options, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.postgres = Postgres(EmbeddedPostgres(folder / "postgres", options=_POSTGRES_OPTIONS))
        self.valkey = Valkey(EmbeddedValkey(folder / "valkey", options=_VALKEY_OPTIONS))
        self.fleet = Fleet(folder, options.seed, self.ledger, armed=FAILPOINTS in options.faults)
        self.keys: dict[str, str] = {}
        """Tenant → an API key that may do everything for it."""
        self._options = options
        self._tell = tell
        self._proxies = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kill()

    @property
    def servers(self) -> tuple[Server, ...]:
        """Both."""
        return self.postgres, self.valkey

    @property
    def links(self) -> list[Proxy]:
        """Every link."""
        return [proxy for member in self.fleet.members for proxy in member.links.values()]

    def arm(self) -> None:
        """From here on failpoints fire."""
        arming.when_of(self.folder).touch()

    async def heal(self) -> None:
        """Undoes every fault that is still there. Raises EmbeddedError where a server does not come up any more."""
        arming.when_of(self.folder).unlink(missing_ok=True)
        self.fleet.thaw()
        for server in self.servers:
            async with server.lock:
                if server.pid is None:
                    await server.start()
        with contextlib.suppress(RedisError, OSError):
            await self.valkey.command("CONFIG", "SET", "maxmemory", 0)
        for link in self.links:
            await link.heal()

    async def ready(self) -> None:
        """Returns when every API answers and every worker has announced itself. Raises NotReadyError."""
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self.fleet.members)
        async with httpx.AsyncClient(timeout=5) as client:
            while waiting:
                waiting = [member for member in waiting if not await self._is_ready(client, member)]
                if waiting and time.monotonic() > deadline:
                    words = "\n".join(last_lines(waiting[0].lives[-1].log, 12)) if waiting[0].lives else ""
                    raise NotReadyError(f"{', '.join(one.who for one in waiting)}: not ready\n{words}")
                await asyncio.sleep(_POLL_SECONDS)

    async def _is_ready(self, client: httpx.AsyncClient, member: Member) -> bool:
        if member.life is None:
            return False
        if not member.life.is_api:
            return '"event": "worker.ready"' in member.life.log.read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(f"{member.url}/readyz")).is_success
        return False

    # -- coming and going --------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._tell("starting PostgreSQL and Valkey")
        for server in self.servers:
            await server.start()
        await upgrade(self.postgres.url)
        async with await Database.open(self.postgres.url, size=1) as database:
            for tenant in TENANTS:
                _, self.keys[tenant] = await issue(database.link, b"", Wish(tenant, "chaos", ["admin"], "chaos"))
        for _ in range(APIS):
            self.fleet.add_api(await self._links())
        for number in range(self._options.workers):
            # the last one has the second pool to itself
            pool = POOLS[number == self._options.workers - 1]
            self.fleet.add_worker(await self._links(), pool)
        self._tell(f"starting {APIS} APIs and {self._options.workers} workers")
        self.fleet.start(self._addresses)
        await self.ready()

    async def _links(self) -> dict[str, Proxy]:
        return {
            name: await self._proxies.enter_async_context(Proxy.of(server.url))
            for name, server in (("postgres", self.postgres), ("valkey", self.valkey))
        }

    def _addresses(self, member: Member) -> dict[str, str]:
        return {
            "DATABASE_URL": member.links["postgres"].through(self.postgres.url),
            "REDIS_URL": member.links["valkey"].through(self.valkey.url),
        }

    async def _kill(self) -> None:
        self.fleet.thaw()
        await self.fleet.kill()
        await self._proxies.aclose()
        for server in self.servers:
            server.kill()


async def leader_pid(postgres: Postgres) -> int | None:
    """The process that leads; None where nobody does or PostgreSQL does not say."""
    try:
        rows = await postgres.ask(
            "SELECT w.pid FROM errander.leaders l JOIN errander.workers w ON w.id = l.worker_id WHERE l.until > now()"
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    return rows[0]["pid"] if rows else None
