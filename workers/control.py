"""The control thread: heartbeat, roll call, watchdog and the leader's loops, on an event loop and connections of their
own, so that a task that blocks the job loop neither loses its neighbours' jobs nor stops the fleet.

Each of them stands in a file of its own; here they are wired, started and ended. They act on the job loop only through
`Orders`, which hand over by `call_soon_threadsafe`; while the job loop stands still the watchdog can end the process
alone. Should one of them end, all do: a process without them must not go on, and its job loop sees `ended`.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from db.consistency import Limits
from db.engine import Database
from db.errors import DatabaseError
from db.lifecycle import JobStatus
from db.workers import WorkerRow
from workers.cancelling import cancel_and_wait
from workers.health import HealthServer
from workers.heartbeat import Heartbeat
from workers.keeping import Kept, keep
from workers.loops.base import Loop
from workers.loops.consistency import Consistency, WhileLeading
from workers.loops.horizon import Horizon
from workers.loops.leader import Leader
from workers.loops.pruner import Pruner
from workers.loops.reaper import Reaper
from workers.loops.rollups import Rollups
from workers.loops.silence import Observer, Silence
from workers.orders import Orders, Shared
from workers.publisher import Publisher
from workers.roll_call import RollCalls
from workers.settings import WorkerSettings
from workers.watchdog import Watchdog

_log = structlog.get_logger("errander.control")

_STOP_SECONDS = 5.0  # a database that does not answer must not hold up the end of the process


class ControlEnded(Exception):
    """The control thread has ended before the process had begun to work; why stands in its message."""


class Control:
    """Started and stopped by the process."""

    def __init__(self, settings: WorkerSettings, row: WorkerRow, shared: Shared, orders: Orders) -> None:
        self._settings = settings
        self._row = row
        self._shared = shared
        self._orders = orders
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heartbeat: Heartbeat | None = None
        self._leader: Leader | None = None
        self._leading: asyncio.Task[None] | None = None
        self._has_resigned = False
        self._thread = threading.Thread(target=self._thread_main, name="errander.control", daemon=True)
        self.ready = threading.Event()
        """The worker's row is there and its first beat was answered."""
        self.ended = threading.Event()
        """The thread does nothing any more."""
        self.error: Exception | None = None
        """What ended it, if nobody asked it to end."""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Resigns, ends every task of the thread and waits for it."""
        if self._loop is None:
            self._over.set()  # it has not begun
        elif not self.ended.is_set():
            with contextlib.suppress(RuntimeError):  # it has ended by itself in this moment
                self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(timeout=_STOP_SECONDS)

    # -- asked by the job loop ---------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._leader is not None and self._leader.leads

    def beat_soon(self) -> None:
        """Sends the next beat now: claims are refused because PostgreSQL takes the last one to be old."""
        if self._loop is not None and self._heartbeat is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended
                self._loop.call_soon_threadsafe(self._heartbeat.hurry)

    async def resign(self) -> None:
        """Gives up leadership for good; the thread goes on beating. Raises DatabaseError."""
        if self._loop is not None and not self.ended.is_set():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._resign(), self._loop))

    # -- on the thread -----------------------------------------------------------------------------------------------

    def _thread_main(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            self.error = error
            _log.exception("control.broken")
        finally:
            self.ended.set()

    async def _main(self) -> None:
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        url, schema = settings.database_url.get_secret_value(), settings.db_schema
        # One connection for the beat alone: nothing that the loops do may hold it up.
        async with (
            await Database.open(url, schema=schema, size=1, ready=False) as beat_db,
            await Database.open(url, schema=schema, size=2, ready=False) as loops_db,
            # opened by the leader only, every few minutes, and closed when it is idle
            await Database.open(url, schema=schema, size=1, ready=False) as checks_db,
            HealthServer(settings, self._shared, self.ready) as health,
        ):
            row, shared, orders = replace(self._row, metrics_port=health.port), self._shared, self._orders
            publisher = Publisher(
                settings.redis_url.get_secret_value(), window=settings.hint_window, horizon=settings.hint_horizon
            )
            publisher.start()
            heartbeat = Heartbeat(beat_db.link, row, shared, orders, self.ready, seconds=settings.heartbeat)
            watchdog = Watchdog(beat_db.link, row.id, shared, orders, settings=settings, resign=self._resign)
            calls = RollCalls(loops_db.link, row.id, shared, orders, heartbeat=settings.heartbeat)
            silence = Silence(lease=settings.lease, heartbeat=settings.heartbeat, clock=time.monotonic)
            # Looks further apart than two beats observe nothing, so a slow reaper must not make them so.
            observer = Observer(loops_db.link, silence, pause=min(settings.reaper, settings.heartbeat))
            reaper = Reaper(loops_db.link, publisher, observer.silent, interval=settings.reaper)
            observer.on_look = reaper.hurry
            others = self._other_loops(loops_db, publisher)
            leader = Leader(loops_db.link, row.id, [reaper, *others], term=settings.leader)
            check = Consistency(checks_db, row.id, Limits(lease=settings.lease))
            self._heartbeat, self._leader = heartbeat, leader
            try:
                await self._until_over(
                    [heartbeat, watchdog, calls, observer, WhileLeading(leader, check)], leader, heartbeat.answered
                )
            finally:
                with contextlib.suppress(DatabaseError):
                    await self._resign()
                await publisher.stop()

    def _other_loops(self, database: Database, publisher: Publisher) -> list[Loop]:
        settings = self._settings
        days = {
            JobStatus.SUCCESS: settings.retention_success_days,
            JobStatus.CANCELLED: settings.retention_cancelled_days,
            JobStatus.FAILED: settings.retention_failed_days,
        }
        return [
            Horizon(database.link, publisher, window=settings.hint_window, horizon=settings.hint_horizon),
            Rollups(database),
            Pruner(
                database.link,
                days=days,
                idempotency_hours=settings.idempotency_hours,
                audit_days=settings.retention_audit_days,
            ),
        ]

    async def _until_over(self, kept: Sequence[Kept], leader: Leader, answered: asyncio.Event) -> None:
        """Keeps all of it up until the process ends. Raises RuntimeError should one of them end before."""
        self._leading = asyncio.create_task(_lead(leader, answered), name=f"errander.control.{leader.name}")
        tasks = {asyncio.create_task(keep(one), name=f"errander.control.{one.name}") for one in kept}
        over = asyncio.create_task(self._over.wait(), name="errander.control.over")
        running: set[asyncio.Task[Any]] = {over, self._leading, *tasks}
        try:
            while not over.done():
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {over}:
                    if task is not self._leading or not self._has_resigned:
                        reason = None if task.cancelled() else task.exception()
                        raise RuntimeError(f"{task.get_name()} has ended: {reason!r}") from reason
        finally:
            await cancel_and_wait(over, *tasks)

    async def _resign(self) -> None:
        self._has_resigned = True
        await cancel_and_wait(self._leading)
        if self._leader is not None:
            await self._leader.resign()


async def _lead(leader: Leader, answered: asyncio.Event) -> None:
    await answered.wait()  # whoever leads has a row that others can see
    await keep(leader)
