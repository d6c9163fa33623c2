"""Carrying out the faults of a plan on real processes, and writing down what really happened."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from signal import SIGINT, SIGKILL, SIGQUIT, Signals
from typing import Any

import asyncpg
from redis.exceptions import RedisError

from service.chaos import family
from service.chaos.evidence import Happened
from service.chaos.fleet import Member
from service.chaos.plan import Fault
from service.chaos.proxy import Proxy
from service.chaos.servers import Server
from service.chaos.stack import Stack, leader_pid

_MOST_CONNECTIONS = 200
_CUT_BYTES = 1_500  # at most, so that a cut falls into the middle of what is said at once
_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError)


class _NobodyError(Exception):
    """There is nobody the fault could happen to."""


class Faults:
    """The faults of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._fleet = stack.fleet
        self._ways: dict[str, Callable[[Fault], Awaitable[str]]] = {
            "kill-worker": lambda fault: self._kill(fault, self._fleet.workers),
            "kill-leader": self._kill_leader,
            "kill-api": lambda fault: self._kill(fault, self._fleet.apis),
            "drain-worker": self._drain,
            "freeze-worker": lambda fault: self._freeze(fault, _drawn(fault, _running(self._fleet.workers))),
            "freeze-leader": self._freeze_leader,
            "freeze-all": self._freeze_all,
            "flush": lambda _: self._command("FLUSHALL"),
            "valkey-kill": lambda fault: self._restart(fault, stack.valkey, SIGKILL),
            "valkey-freeze": lambda fault: self._freeze_server(fault, stack.valkey),
            "valkey-full": self._fill,
            "postgres-fast": lambda fault: self._restart(fault, stack.postgres, SIGINT),
            "postgres-immediate": lambda fault: self._restart(fault, stack.postgres, SIGQUIT),
            "postgres-freeze": lambda fault: self._freeze_server(fault, stack.postgres),
            "postgres-terminate": self._terminate,
            "postgres-connections": self._exhaust,
            "link-latency": lambda fault: self._slow(fault, latency=0.01 + fault.amount / 2, jitter=fault.amount / 4),
            "link-narrow": lambda fault: self._slow(fault, rate=2_000 + 30_000 * fault.amount),
            "link-silent": self._silence,
            "link-reset": self._reset,
            "link-half-close": self._half_close,
            "link-cut": self._cut,
            "link-refuse": self._refuse,
        }

    async def inflict(self, fault: Fault) -> Happened:
        """Does it, and returns when it is over."""
        began = time.time()
        try:
            what, really = await self._ways[fault.name](fault), True
        except _NobodyError as error:
            what, really = str(error), False
        except _UNREACHABLE as error:  # the server is away by another fault
            what, really = f"{type(error).__name__}: {error}", False
        return Happened(fault, began, time.time(), really, what)

    # -- processes ---------------------------------------------------------------------------------------------------

    async def _kill(self, fault: Fault, members: Sequence[Member]) -> str:
        member = _drawn(fault, _running(members))
        self._fleet.tell(member, SIGKILL)
        return member.who

    async def _leader(self) -> Member:
        pid = await leader_pid(self._stack.postgres)
        for member in self._fleet.workers:
            if member.life is not None and member.life.pid == pid:
                return member
        raise _NobodyError("nobody led")

    async def _kill_leader(self, _: Fault) -> str:
        member = await self._leader()
        self._fleet.tell(member, SIGKILL)
        return member.who

    async def _drain(self, fault: Fault) -> str:
        member = _drawn(fault, _running(self._fleet.workers))
        await self._fleet.end(member)
        return member.who

    async def _freeze(self, fault: Fault, member: Member) -> str:
        if member.life is None:
            raise _NobodyError(f"{member.who} was not there")
        # with its children, as a suspended machine has it, or without, as a process that was stopped
        stopped = family.freeze([member.life.pid], whole=fault.amount < 1 / 2)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            family.thaw(stopped)
        return member.who

    async def _freeze_leader(self, fault: Fault) -> str:
        return await self._freeze(fault, await self._leader())

    async def _freeze_all(self, fault: Fault) -> str:
        async with self._stack.postgres.lock, self._stack.valkey.lock:
            stopped = family.freeze(member.life.pid for member in self._fleet.members if member.life is not None)
            for server in self._stack.servers:
                stopped += server.freeze()
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                family.thaw(stopped)
        return f"{len(stopped)} processes"

    # -- servers -----------------------------------------------------------------------------------------------------

    async def _restart(self, fault: Fault, server: Server, number: Signals) -> str:
        async with server.lock:
            try:
                await server.end(number)
                await asyncio.sleep(fault.seconds)
            finally:
                await server.start()
        return server.name

    async def _freeze_server(self, fault: Fault, server: Server) -> str:
        async with server.lock:
            stopped = server.freeze()
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                family.thaw(stopped)
        return server.name

    async def _command(self, *words: str | int) -> str:
        await self._stack.valkey.command(*words)
        return self._stack.valkey.name

    async def _fill(self, fault: Fault) -> str:
        await self._command("CONFIG", "SET", "maxmemory", 1)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            with contextlib.suppress(*_UNREACHABLE):  # restarted meanwhile: then it is as it was configured
                await self._command("CONFIG", "SET", "maxmemory", 0)
        return self._stack.valkey.name

    async def _terminate(self, _: Fault) -> str:
        rows = await self._stack.postgres.ask(
            "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        ended = sum(row["done"] for row in rows)
        if not ended:
            raise _NobodyError("nobody was connected")
        return f"{ended} connections"

    async def _exhaust(self, fault: Fault) -> str:
        taken: list[asyncpg.Connection[Any]] = []
        try:
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                while len(taken) < _MOST_CONNECTIONS:
                    taken.append(await self._stack.postgres.connect())
            await asyncio.sleep(fault.seconds)
        finally:
            for connection in taken:
                connection.terminate()
        return f"{len(taken)} connections were left"

    # -- links -------------------------------------------------------------------------------------------------------

    def _links(self, fault: Fault) -> tuple[list[Proxy], str]:
        members = self._fleet.members if fault.everybody else [_drawn(fault, self._fleet.members)]
        whose = "everybody" if fault.everybody else members[0].who
        return [member.links[fault.server] for member in members], f"{whose} to {fault.server}"

    async def _while_broken(self, fault: Fault, links: Sequence[Proxy]) -> None:
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            for link in links:
                await link.heal()

    async def _slow(self, fault: Fault, *, latency: float = 0.0, jitter: float = 0.0, rate: float = 0.0) -> str:
        links, whose = self._links(fault)
        for link in links:
            link.slow(latency=latency, jitter=jitter, rate=rate)
        await self._while_broken(fault, links)
        return whose

    async def _silence(self, fault: Fault) -> str:
        links, whose = self._links(fault)
        for link in links:
            ways = ([link.up], [link.down], [link.up, link.down])
            link.silence(*ways[int(fault.amount * len(ways))])
        await self._while_broken(fault, links)
        return whose

    async def _reset(self, fault: Fault) -> str:
        links, whose = self._links(fault)
        _need_connections(links, whose)
        for link in links:
            link.reset()
        return whose

    async def _half_close(self, fault: Fault) -> str:
        links, whose = self._links(fault)
        _need_connections(links, whose)
        for link in links:
            link.half_close()
        return whose

    async def _cut(self, fault: Fault) -> str:
        links, whose = self._links(fault)
        before = sum(link.cuts for link in links)
        for link in links:
            way = link.down if fault.amount < 2 / 3 else link.up
            way.until_cut = 1 + int(fault.amount * _CUT_BYTES)
        await self._while_broken(fault, links)
        if sum(link.cuts for link in links) == before:
            raise _NobodyError(f"{whose} said too little")
        return whose

    async def _refuse(self, fault: Fault) -> str:
        links, whose = self._links(fault)
        for link in links:
            await link.refuse()
            link.reset()  # or nobody would notice
        await self._while_broken(fault, links)
        return whose


def _running(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.life is not None]


def _drawn(fault: Fault, members: Sequence[Member]) -> Member:
    if not members:
        raise _NobodyError("nobody was there")
    return members[int(fault.draw * len(members))]


def _need_connections(links: Sequence[Proxy], whose: str) -> None:
    if not any(link.connections for link in links):
        raise _NobodyError(f"{whose} had no connection")
