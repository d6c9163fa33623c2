"""One worker process: wires the parts, fills its slots, and ends in one of three ways.

*Drain* (SIGTERM, a request over the API, `--burst` with nothing left): stop taking, let jobs end, give back what did
not, exit. *Retire* (code that cannot be stopped, `ERRANDER_MAX_JOBS`): the same, then start again. *Lost* (the database
has declared this worker dead): stop everything, write nothing, start again.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from uuid import UUID, uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db import failpoints, revisions
from db.attempts import Claimed
from db.engine import Database
from db.errors import DatabaseError
from db.workers import WorkerRow
from errander import Registry, __version__
from workers import catalogue, ending
from workers.attempt import Attempt, Stop
from workers.cancelling import cancel_and_wait
from workers.children import Children
from workers.control import LOST_GRACE_SECONDS, Control, Orders, Shared
from workers.fill import IDLE_SECONDS, Filler
from workers.flush import Flush
from workers.held import Held
from workers.hints import Hints, health_key, queue_name
from workers.lease import Lease
from workers.outcomes import Outcome
from workers.progress import ProgressBoard
from workers.publisher import Publisher
from workers.pulse import Pulse
from workers.redis_client import connect
from workers.room import Room
from workers.settings import WorkerSettings
from workers.take import Claims, Served, Taker

_log = structlog.get_logger("errander.worker")

_SWEEP_SECONDS = 0.1  # how often deadlines are looked at, and the pulse beats
_STOP_SECONDS = 2.0  # how long code may take to end once it was stopped by a drain


class Why(StrEnum):
    """Why a process ends."""

    DRAIN = "drain"
    RETIRE = "retire"
    LOST = "lost"


class WorkerProcess:
    """`await run()`; everything it owns is made there."""

    registry: Registry
    children: Children

    def __init__(self, settings: WorkerSettings, *, burst: bool = False) -> None:
        self.settings = settings
        self.id: UUID = uuid4()
        self.threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="errander.task")
        self.thread_slots = asyncio.Semaphore(settings.threads)
        self.lease = Lease(settings.lease)
        self.progress = ProgressBoard()
        self.held = Held()
        self.pulse = Pulse()
        self._burst = burst
        self.room = Room(settings.slots)
        self._culprits: set[Attempt] = set()
        self._why: Why | None = None
        self._dismissed = False
        self._told_at: float | None = None
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()

    # -- the run -----------------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Runs until it is told to end. Whether the process is to start again."""
        with self._signals():
            self.registry = catalogue.load(self.settings.tasks, self.settings.builtin_tasks)
            self.children = Children(self.settings.tasks, self.settings.builtin_tasks)
            size = 4  # claim, flush, and one each for what they ask about
            url = self.settings.database_url.get_secret_value()
            async with await Database.open(url, schema=self.settings.db_schema, size=size, ready=False) as database:
                self._database = database
                if await self._until_schema(database):
                    await self._serve(database)
        return self._again

    async def _until_schema(self, database: Database) -> bool:
        """Waits for PostgreSQL and for its schema (or migrates it). False if told to end meanwhile."""
        said = ""
        while self._why is None:
            try:
                if self.settings.migrate == "auto":
                    from db.migrate import upgrade  # noqa: PLC0415 - only who migrates pays for alembic

                    await upgrade(self.settings.database_url.get_secret_value(), self.settings.db_schema)
                if await revisions.is_current(database.link):
                    await catalogue.announce(database.link, self.registry)
                    return True
                state = "the schema is behind: run `errander migrate`"
            except DatabaseError as error:
                state = str(error)
            if state != said:
                _log.warning("worker.waiting", reason=state)
                said = state
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)
        return False

    async def _serve(self, database: Database) -> None:
        redis_url = self.settings.redis_url.get_secret_value()
        redis = connect(redis_url)
        waker = connect(redis_url, blocking=IDLE_SECONDS)
        window, horizon = self.settings.hint_window, self.settings.hint_horizon
        publisher = Publisher(redis_url, window=window, horizon=horizon)
        publisher.start()
        self.flush = Flush(database.link, self.id, self.held, publisher=publisher, progress=self.progress)
        self.flush.on_room = self.room.changed.set
        self.flush.start()
        taker = Taker(
            database.link,
            Hints(redis, window=window, horizon=horizon),
            publisher,
            served=self._served(),
            lease=self.lease,
            claims=Claims(self.held.begin_claim, self._claimed),
            head_seconds=self.settings.head,
        )
        priorities = [str(priority) for priority in self.settings.priorities]
        wake_keys = {f"{queue_name(self.settings.pool, priority)}:wake": priority for priority in priorities}
        filler = Filler(taker, self.room, self.flush, self.lease, waker=waker, wake_keys=wake_keys)
        shared = Shared(self.held, self.lease, self.progress, self.pulse)
        control = Control(self.settings, self._row(), shared, self._orders(asyncio.get_running_loop()))
        self._control = control
        self.pulse.beat()
        control.start()
        chores = [
            asyncio.create_task(self._sweep(), name="errander.sweep"),
            asyncio.create_task(self._say_well(redis), name="errander.health"),
        ]
        try:
            if await self._until_joined(control):
                _log.info("worker.ready", worker=str(self.id), pool=self.settings.pool, slots=self.settings.slots)
                await self._work(filler)
            await self._end(database)
        finally:
            await cancel_and_wait(*chores)
            await taker.stop()
            await self.flush.stop()
            control.stop()
            await self.children.close()
            await publisher.stop()
            await _close(redis, waker)
            self.threads.shutdown(wait=False)

    async def _until_joined(self, control: Control) -> bool:
        while not control.ready.is_set():
            if self._why is not None or control.ended.is_set():
                return False
            await asyncio.sleep(0.01)  # the control thread has no way to set an event of this loop before it is ready
        return True

    async def _work(self, filler: Filler) -> None:
        if self.settings.slots == 0:
            await self._ending.wait()
            return
        await filler.run(self._ending, burst=self._burst)
        if self._why is None:
            self._begin_ending(Why.DRAIN)  # a burst that has run everything

    # -- taking ------------------------------------------------------------------------------------------------------

    def _claimed(self, number: int, jobs: Sequence[Claimed], ambiguous: bool) -> None:
        attempts = [Attempt(job, self) for job in jobs]
        self.held.end_claim(number, attempts, ambiguous=ambiguous)
        self.room.admit(attempts)
        if self._why is not None:  # a claim that was under way when the process was told to end
            self._refuse_line(self._why)
            for attempt in attempts:
                attempt.stop(Stop.DRAIN)
        self._retire_in_time()

    def _retire_in_time(self) -> None:
        if self.settings.max_jobs is not None and self.room.started >= self.settings.max_jobs and self._why is None:
            self._begin_ending(Why.RETIRE)

    # -- what attempts ask for (workers.attempt.Host) ----------------------------------------------------------------

    def may_start(self) -> bool:
        """Whether the lease is fresh enough for code to start."""
        return self.lease.fresh()

    async def another_version_fits(self, task: str, schema_hash: str, payload: str) -> bool:
        """Whether another live worker's version of `task` takes this payload; an outage counts as yes."""
        try:
            return await catalogue.another_version_fits(
                self._database.link, task, schema_hash, payload, lease=self.settings.lease
            )
        except DatabaseError:
            return True  # then it goes back, and is looked at again

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """Frees the slot and hands the outcome to the flush."""
        self._culprits.discard(attempt)
        if outcome is None:
            self.held.release([attempt])
        else:
            self.flush.add(attempt, outcome)
        self.room.ended(attempt)
        self._retire_in_time()

    # -- deadlines ---------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            self.pulse.beat()
            now = time.monotonic()
            for attempt in self.room.leave_line(patient=True):
                attempt.decline(Stop.CROWDED)
            for attempt in [attempt for attempt in self.room.running if now > attempt.deadline]:
                attempt.stop(Stop.TIMEOUT)
                if now > attempt.deadline + self.settings.stuck and attempt not in self._culprits:
                    _log.error("attempt.stuck", job_id=str(attempt.id), attempt=attempt.number)
                    self._culprits.add(attempt)
                    self._begin_ending(Why.RETIRE)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _say_well(self, redis: Redis) -> None:
        """Keeps the key that `arq --check` reads; it runs out when nobody renews it."""
        key = health_key(self.settings.pool, [str(priority) for priority in self.settings.priorities])
        while True:
            with contextlib.suppress(RedisError, OSError):
                if self.lease.fresh():
                    text = f"running={len(self.room.running)} started={self.room.started} unconfirmed={self.flush.unconfirmed}"
                    await redis.set(key, text, px=int(self.settings.heartbeat * 3000))
            await asyncio.sleep(self.settings.heartbeat)

    # -- ending ------------------------------------------------------------------------------------------------------

    @property
    def _again(self) -> bool:
        """Whether this process is to run again: not if anybody has told it to leave."""
        return self._why in (Why.RETIRE, Why.LOST) and not self._dismissed

    def _begin_ending(self, why: Why) -> None:
        self._dismissed = self._dismissed or why is Why.DRAIN
        if self._why is None or why is Why.LOST:
            _log.info("worker.ending", why=str(why), running=len(self.room.running))
            self._why = why
            self._refuse_line(why)
        self._ending.set()
        self.room.changed.set()
        if why is Why.LOST:
            self._hurry.set()

    def _refuse_line(self, why: Why) -> None:
        for attempt in self.room.leave_line():
            attempt.decline(Stop.LOST if why is Why.LOST else Stop.DRAIN)

    async def _end(self, database: Database) -> None:
        """Lets jobs end, stops the rest, writes what is left; leaves directly if any code is still running."""
        await failpoints.reach("ending.draining")
        if self._why is Why.LOST:
            await self._stop_running(Stop.LOST, LOST_GRACE_SECONDS)
        else:
            await self._let_run(self.settings.drain)
            await self._stop_running(Stop.LOST if self.lease.lost else Stop.DRAIN, _STOP_SECONDS)
        if self._why is not Why.LOST:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.flush.settle()
            self.lease.left = True
            await ending.last_act(database.link, self.id, self.held, self._culprits)
        if self.room.running:
            self.children.kill_all()
            self._control.stop()  # resigns: the fleet need not wait for the end of the term
            ending.leave(again=self._again, supervised=self.settings.supervised)

    async def _let_run(self, seconds: float) -> None:
        """Waits for what runs, culprits excepted, up to `seconds` or until told to hurry."""
        deadline = time.monotonic() + seconds
        while self.room.running - self._culprits and not self._hurry.is_set() and time.monotonic() < deadline:
            await self.room.wait(min(0.1, max(0.0, deadline - time.monotonic())))

    async def _stop_running(self, reason: Stop, seconds: float) -> None:
        for attempt in list(self.room.running):
            attempt.stop(reason)
        deadline = time.monotonic() + seconds
        while self.room.running - self._culprits and time.monotonic() < deadline:
            await self.room.wait(0.05)

    # -- who asks ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def told() -> None:
            if self._dismissed:
                self._hurry.set()  # a second signal: do not wait for jobs
            self._begin_ending(Why.DRAIN)

        def heard(*_: object) -> None:
            # Not the loop's own way: a task that holds up the loop would hold that up too, and the control thread must
            # know that this process is to leave.
            self._told_at = self._told_at or time.monotonic()
            loop.call_soon_threadsafe(told)

        former = {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _orders(self, loop: asyncio.AbstractEventLoop) -> Orders:
        def stop_all(attempts: Sequence[Attempt], reason: Stop) -> None:
            for attempt in attempts:
                attempt.stop(reason)

        def stop(attempts: Sequence[Attempt], reason: Stop) -> None:
            loop.call_soon_threadsafe(stop_all, attempts, reason)

        def post(why: Why) -> None:
            loop.call_soon_threadsafe(self._begin_ending, why)

        return Orders(
            stop=stop,
            drain=lambda: post(Why.DRAIN),
            lost=lambda: post(Why.LOST),
            kill_children=self.children.kill_all,
            told_at=lambda: self._told_at,
        )

    # -- what it says of itself --------------------------------------------------------------------------------------

    def _served(self) -> Served:
        names = self.registry.names()
        priorities = tuple(str(priority) for priority in self.settings.priorities)
        return Served(self.id, self.settings.pool, priorities, names, catalogue.hash_of_names(names))

    def _row(self) -> WorkerRow:
        takes = self.settings.slots > 0
        return WorkerRow(
            id=self.id,
            pool=self.settings.pool,
            priorities=[str(priority) for priority in self.settings.priorities] if takes else [],
            tasks=catalogue.hashes(self.registry) if takes else {},
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            slots=self.settings.slots,
        )


async def _close(*clients: Redis) -> None:
    for client in clients:
        with contextlib.suppress(RedisError, OSError):
            await client.aclose()
