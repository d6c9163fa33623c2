"""The control thread: heartbeat, roll call, watchdog and the leader's loops, on an event loop and connections of their
own, so that a task that blocks the job loop neither loses its neighbours' jobs nor stops the fleet.

It acts on the job loop only through `Orders`, which hand over by `call_soon_threadsafe`; while the job loop stands
still it can end the process alone.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from db import attempts, failpoints, workers
from db.consistency import Limits
from db.engine import Database
from db.errors import DatabaseError
from db.lifecycle import JobStatus
from db.workers import Beat, WorkerRow
from workers import ending
from workers.attempt import Attempt, Stop
from workers.cancelling import cancel_and_wait
from workers.health import HealthServer
from workers.held import Held
from workers.lease import Lease
from workers.loops.base import Loop
from workers.loops.consistency import Consistency
from workers.loops.horizon import Horizon
from workers.loops.leader import Leader
from workers.loops.pruner import Pruner
from workers.loops.reaper import Reaper
from workers.loops.rollups import Rollups
from workers.loops.silence import Silence
from workers.progress import ProgressBoard
from workers.publisher import Publisher
from workers.pulse import Pulse
from workers.roll_call import RollCall
from workers.settings import WorkerSettings

_log = structlog.get_logger("errander.control")

ROLL_CALL_SECONDS = 0.5
"""How often PostgreSQL is asked what this worker runs while it runs anything."""
LOST_GRACE_SECONDS = 5.0
"""How long code may take to end once the lease is lost."""
_LEADER_STEP_SECONDS = 1.0
_WATCH_SECONDS = 0.25
_DRAIN_GRACE_SECONDS = 2.0
"""How much longer than its drain a job loop that stands still may take before the process ends without it."""
_RETRY_SECONDS = 0.5
_STOP_SECONDS = 5.0  # a database that does not answer must not hold up the end of the process


@dataclass(frozen=True, slots=True)
class Orders:
    """What the control thread may ask of the job loop; each is safe to call from it."""

    stop: Callable[[Sequence[Attempt], Stop], None]
    drain: Callable[[], None]
    lost: Callable[[], None]
    kill_children: Callable[[], None]
    told_at: Callable[[], float | None]
    """When a signal told the process to leave, by the monotonic clock; heard even while the job loop stands still."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What both threads read and write, each with its own lock."""

    held: Held
    lease: Lease
    progress: ProgressBoard
    pulse: Pulse


class Control:
    """Started and stopped by the process."""

    def __init__(self, settings: WorkerSettings, row: WorkerRow, shared: Shared, orders: Orders) -> None:
        self._settings = settings
        self._row = row
        self._shared = shared
        self._orders = orders
        self._roll_call = RollCall()
        self._silent: list[Beat] = []
        self._over: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._thread_main, name="errander.control", daemon=True)
        self._failed_calls: set[str] = set()
        self.ready = threading.Event()
        """The worker's row is there and its first beat was answered."""
        self.ended = threading.Event()
        self.leads = False
        """Whether this process leads."""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Resigns, ends every task of the thread and waits for it."""
        if self._loop is not None and self._over is not None and not self.ended.is_set():
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(timeout=_STOP_SECONDS)

    def _thread_main(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:
            _log.exception("control.broken")  # the lease then runs out: the fleet does not wait for us
        finally:
            self.ended.set()

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        url, schema = self._settings.database_url.get_secret_value(), self._settings.db_schema
        # One connection for the beat alone: nothing that the loops do may hold it up.
        async with (
            await Database.open(url, schema=schema, size=1, ready=False) as beat_db,
            await Database.open(url, schema=schema, size=2, ready=False) as loops_db,
            # opened by the leader only, every few minutes, and closed when it is idle
            await Database.open(url, schema=schema, size=1, ready=False) as checks_db,
            HealthServer(self._settings, self._shared, self.ready) as health,
        ):
            self._row = replace(self._row, metrics_port=health.port)
            publisher = Publisher(
                self._settings.redis_url.get_secret_value(),
                window=self._settings.hint_window,
                horizon=self._settings.hint_horizon,
            )
            publisher.start()
            leader = Leader(loops_db.link, self._row.id, self._loops(loops_db, publisher), term=self._settings.leader)
            tasks = [
                asyncio.create_task(coroutine, name=f"errander.control.{name}")
                for name, coroutine in (
                    ("beat", self._keep_beating(beat_db)),
                    ("roll_call", self._keep_calling(loops_db)),
                    ("watch", self._keep_watching(beat_db)),
                    ("silence", self._keep_observing(loops_db)),
                    ("leader", self._keep_leading(leader)),
                    ("consistency", self._keep_checking(checks_db)),
                )
            ]
            await self._over.wait()
            await cancel_and_wait(*tasks)
            await self._try("resign", leader.resign)
            await publisher.stop()

    def _loops(self, database: Database, publisher: Publisher) -> list[Loop]:
        settings = self._settings
        days = {
            JobStatus.SUCCESS: settings.retention_success_days,
            JobStatus.CANCELLED: settings.retention_cancelled_days,
            JobStatus.FAILED: settings.retention_failed_days,
        }
        self._reaper = Reaper(database.link, publisher, lambda: self._silent, interval=settings.reaper)
        return [
            self._reaper,
            Horizon(database.link, publisher, window=settings.hint_window, horizon=settings.hint_horizon),
            Rollups(database),
            Pruner(
                database.link,
                days=days,
                idempotency_hours=settings.idempotency_hours,
                audit_days=settings.retention_audit_days,
            ),
        ]

    async def _try(self, what: str, call: Callable[[], Awaitable[object]]) -> bool:
        """Makes one call; an outage is logged once, when it begins and when it ends."""
        try:
            await call()
        except DatabaseError as error:
            if what not in self._failed_calls:
                self._failed_calls.add(what)
                _log.warning("control.unavailable", call=what, error=str(error))
            return False
        except Exception:  # a fault of ours in one call must end neither the heartbeat nor the loops
            _log.exception("control.broken_call", call=what)
            return False
        if what in self._failed_calls:
            self._failed_calls.discard(what)
            _log.info("control.available", call=what)
        return True

    # -- heartbeat ---------------------------------------------------------------------------------------------------

    async def _keep_beating(self, database: Database) -> None:
        joined = False
        while True:
            if not joined:
                joined = await self._try("join", lambda: workers.join(database.link, self._row))
            started = time.monotonic()
            beaten = joined and await self._try("beat", lambda: self._beat(database))
            pause = self._settings.heartbeat if beaten else _RETRY_SECONDS
            await asyncio.sleep(max(0.0, started + pause - time.monotonic()))

    async def _beat(self, database: Database) -> None:
        sent = time.monotonic()
        await failpoints.reach("beat.sending")
        drain = await workers.beat(database.link, self._row.id, running=len(self._shared.held), slots=self._row.slots)
        await failpoints.reach("beat.answered")
        if drain is None:
            if not self._shared.lease.lost and not self._shared.lease.left:
                _log.error("worker.lease_lost", worker=str(self._row.id))
                self._shared.lease.lost = True
                self._orders.lost()
            return
        self._shared.lease.renewed(sent)
        self.ready.set()
        if drain:
            self._orders.drain()

    # -- roll call ---------------------------------------------------------------------------------------------------

    async def _keep_calling(self, database: Database) -> None:
        extra = 0
        last = 0.0
        while True:
            if self._shared.held.take_ambiguous():
                extra = 3  # what an unanswered claim won shows in two calls in a row
            due = time.monotonic() - last >= self._settings.heartbeat
            if self.ready.is_set() and (len(self._shared.held) or extra or due):
                last = time.monotonic()
                extra = max(0, extra - 1)
                await self._try("roll_call", lambda: self._call(database))
                await self._try("progress", lambda: self._shared.progress.write(database.link, self._row.id))
            await asyncio.sleep(ROLL_CALL_SECONDS)

    async def _call(self, database: Database) -> None:
        sent = time.monotonic()
        await failpoints.reach("roll_call.sending")
        rows = await workers.roll_call(database.link, self._row.id)
        await failpoints.reach("roll_call.answered")
        oldest_claim = self._shared.held.oldest_claim()
        findings = self._roll_call.compare(rows, self._shared.held.snapshot(), sent=sent, oldest_claim=oldest_claim)
        if findings.cancelled:
            self._orders.stop(findings.cancelled, Stop.CANCEL)
        if findings.lost:
            _log.warning("roll_call.lost", jobs=[str(attempt.id) for attempt in findings.lost])
            self._orders.stop(findings.lost, Stop.LOST)
        if findings.strays:
            _log.warning("roll_call.strays", jobs=[str(row.id) for row in findings.strays])
            await failpoints.reach("roll_call.giving_back")
            await attempts.give_back(
                database.link,
                worker=self._row.id,
                ids=[row.id for row in findings.strays],
                attempts=[row.attempt for row in findings.strays],
                begun=[False] * len(findings.strays),
                delays=[0.0] * len(findings.strays),
                reasons=["claimed, but the answer never reached its worker"] * len(findings.strays),
            )

    # -- watchdog ----------------------------------------------------------------------------------------------------

    async def _keep_watching(self, database: Database) -> None:
        lost_at: float | None = None
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = time.monotonic()
            if self._shared.lease.lost:
                lost_at = lost_at or now
                if now - lost_at > LOST_GRACE_SECONDS * 2:
                    self._leave()  # the job loop had its grace, and as long again
            held = [entry.attempt for entry in self._shared.held.snapshot().values()]
            if self._shared.pulse.stuck(held, self._settings.stuck):
                await self._end_alone(database, self._shared.pulse.culprits(held))
            told_at = self._orders.told_at()
            overdue = told_at is not None and now > told_at + self._settings.drain + _DRAIN_GRACE_SECONDS
            if overdue and self._shared.pulse.silent_for() > _DRAIN_GRACE_SECONDS:
                await self._end_alone(database, [])  # the code that blocks it is within its time: it goes back too

    async def _end_alone(self, database: Database, culprits: list[Attempt]) -> None:
        _log.error(
            "worker.loop_blocked",
            seconds=round(self._shared.pulse.silent_for(), 1),
            culprits=[str(attempt.id) for attempt in culprits],
        )
        self._orders.kill_children()
        await ending.last_act(database.link, self._row.id, self._shared.held, culprits)
        self._leave()

    def _leave(self) -> None:
        self._orders.kill_children()
        ending.leave(again=self._orders.told_at() is None, supervised=self._settings.supervised)

    # -- silence and leadership --------------------------------------------------------------------------------------

    async def _keep_observing(self, database: Database) -> None:
        settings = self._settings
        silence = Silence(lease=settings.lease, heartbeat=settings.heartbeat, clock=time.monotonic)

        async def look() -> None:
            await failpoints.reach("silence.looking")
            self._silent = silence.look(await workers.beats(database.link))
            self._reaper.hurry()

        while True:
            if not await self._try("beats", look):
                self._silent = []
            # Looks further apart than two beats observe nothing, so a slow reaper must not make them so.
            await asyncio.sleep(min(settings.reaper, settings.heartbeat))

    async def _keep_leading(self, leader: Leader) -> None:
        while True:
            if self.ready.is_set():
                await leader.step()
                self.leads = leader.leads
            await asyncio.sleep(min(_LEADER_STEP_SECONDS, self._settings.leader / 5))

    async def _keep_checking(self, database: Database) -> None:
        check = Consistency(database, self._row.id, Limits(lease=self._settings.lease))
        led = False
        while True:
            if self.leads and not led:
                check.begin()
            led = self.leads
            if led and check.due():
                await self._try("consistency", check.tick)
            await asyncio.sleep(_LEADER_STEP_SECONDS)
