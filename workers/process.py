"""One worker process: wires the parts, fills its slots, and watches over what runs in them.

Why and how it ends is told in `workers.departure`.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db import revisions
from db.attempts import Claimed
from db.engine import Database
from db.errors import DatabaseError
from db.workers import WorkerRow
from errander import Registry, __version__
from workers import catalogue, ending
from workers.attempt import Attempt, Stop
from workers.cancelling import cancel_and_wait
from workers.children import Children
from workers.control import Control, ControlEnded
from workers.departure import Departure, Why
from workers.fill import IDLE_SECONDS, Filler
from workers.flush import Flush
from workers.held import Held
from workers.hints import Hints, health_key, queue_name
from workers.lease import Lease
from workers.orders import Orders, Shared
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


class WorkerProcess:
    """`await run()`; everything it owns is made there."""

    registry: Registry
    children: Children
    control: Control

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
        self._is_alone = False  # its control thread has ended
        self.room = Room(settings.slots)
        self.departure = Departure(settings, self.room, self.lease)

    # -- the run -----------------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Runs until it is told to end. Whether the process is to start again.

        Raises ControlEnded where the process cannot do its work at all, and what importing the tasks raises.
        """
        with self.departure.signals():
            self.registry = catalogue.load(self.settings.tasks, self.settings.builtin_tasks)
            self.children = Children(self.settings.tasks, self.settings.builtin_tasks)
            size = 4  # claim, flush, and one each for what they ask about
            url = self.settings.database_url.get_secret_value()
            async with await Database.open(url, schema=self.settings.db_schema, size=size, ready=False) as database:
                self._database = database
                if await self._until_schema(database):
                    await self._serve(database)
        return self.departure.again

    async def _until_schema(self, database: Database) -> bool:
        """Waits for PostgreSQL and for its schema (or migrates it). False if told to end meanwhile."""
        said = ""
        while self.departure.why is None:
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
                await asyncio.wait_for(self.departure.told.wait(), 1.0)
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
        shared = Shared(self.held, self.lease, self.progress, self.pulse)
        self.control = Control(self.settings, self._row(), shared, self._orders(asyncio.get_running_loop()))
        taker = Taker(
            database.link,
            Hints(redis, window=window, horizon=horizon),
            publisher,
            served=self._served(),
            lease=self.lease,
            claims=Claims(self.held.begin_claim, self._claimed),
            head_seconds=self.settings.head,
            beat_soon=self.control.beat_soon,
        )
        priorities = [str(priority) for priority in self.settings.priorities]
        wake_keys = {f"{queue_name(self.settings.pool, priority)}:wake": priority for priority in priorities}
        filler = Filler(taker, self.room, self.flush, self.lease, waker=waker, wake_keys=wake_keys)
        self.pulse.beat()
        self.control.start()
        chores = [
            asyncio.create_task(self._sweep(), name="errander.sweep"),
            asyncio.create_task(self._say_well(redis), name="errander.health"),
        ]
        try:
            if await self._until_joined():
                _log.info("worker.ready", worker=str(self.id), pool=self.settings.pool, slots=self.settings.slots)
                await self._work(filler)
            await self.departure.carry_out(lambda: self._say_goodbye(database), self.control, self.children)
        finally:
            await cancel_and_wait(*chores)
            await taker.stop()
            await self.flush.stop()
            self.control.stop()
            await self.children.close()
            await publisher.stop()
            await _close(redis, waker)
            self.threads.shutdown(wait=False)

    async def _until_joined(self) -> bool:
        while not self.control.ready.is_set():
            if self.departure.why is not None:
                return False
            if self.control.ended.is_set():
                raise ControlEnded(f"its control thread has ended: {self.control.error}")
            await asyncio.sleep(0.01)  # the control thread has no way to set an event of this loop before it is ready
        return True

    async def _work(self, filler: Filler) -> None:
        if self.settings.slots == 0:
            await self.departure.told.wait()
            return
        await filler.run(self.departure.told, burst=self._burst)
        if self.departure.why is None:
            self.departure.begin(Why.DRAIN)  # a burst that has run everything

    async def _say_goodbye(self, database: Database) -> None:
        """Writes what is left of this process's jobs, and ends its lease."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ending.patience(code_runs=bool(self.room.running))):
                await self.flush.settle()
        self.lease.left = True
        await ending.last_act(database.link, self.id, self.held, self.departure.culprits, self.control.resign)

    # -- taking ------------------------------------------------------------------------------------------------------

    def _claimed(self, number: int, jobs: Sequence[Claimed], *, ambiguous: bool) -> None:
        attempts = [Attempt(job, self) for job in jobs]
        self.held.end_claim(number, attempts, ambiguous=ambiguous)
        self.room.admit(attempts)
        if self.departure.why is not None:  # a claim that was under way when the process was told to end
            self.departure.refuse_line()
            for attempt in attempts:
                attempt.stop(Stop.DRAIN)
        self._retire_in_time()

    def _retire_in_time(self) -> None:
        most = self.settings.max_jobs
        if most is not None and self.room.started >= most and self.departure.why is None:
            self.departure.begin(Why.RETIRE)

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
        self.departure.culprits.discard(attempt)
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
            try:
                self._look_at_deadlines()
            except Exception:  # a fault of ours in one look must not end all that come after it
                _log.exception("worker.broken_sweep")
            if self.control.ended.is_set() and self.control.ready.is_set() and not self._is_alone:
                self._is_alone = True
                _log.error(
                    "worker.control_ended", error=repr(self.control.error), hint="it runs again as another worker"
                )
                self.departure.begin(Why.RETIRE, hurry=True)  # nothing renews the lease: jobs go back while it lasts
            await asyncio.sleep(_SWEEP_SECONDS)

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        for attempt in self.room.leave_line(patient=True):
            attempt.decline(Stop.CROWDED)
        for attempt in [attempt for attempt in self.room.running if now > attempt.deadline]:
            attempt.stop(Stop.TIMEOUT)
            if now > attempt.deadline + self.settings.stuck and attempt not in self.departure.culprits:
                _log.error("attempt.stuck", job_id=str(attempt.id), attempt=attempt.number)
                self.departure.culprits.add(attempt)
                self.departure.begin(Why.RETIRE)

    async def _say_well(self, redis: Redis) -> None:
        """Keeps the key that `arq --check` reads; it runs out when nobody renews it."""
        key = health_key(self.settings.pool, [str(priority) for priority in self.settings.priorities])
        while True:
            with contextlib.suppress(RedisError, OSError):
                if self.lease.fresh():
                    text = f"running={len(self.room.running)} started={self.room.started} unconfirmed={self.flush.unconfirmed}"
                    await redis.set(key, text, px=int(self.settings.heartbeat * 3000))
            await asyncio.sleep(self.settings.heartbeat)

    # -- who asks ------------------------------------------------------------------------------------------------------

    def _orders(self, loop: asyncio.AbstractEventLoop) -> Orders:
        def stop_all(attempts: Sequence[Attempt], reason: Stop) -> None:
            for attempt in attempts:
                attempt.stop(reason)

        def stop(attempts: Sequence[Attempt], reason: Stop) -> None:
            loop.call_soon_threadsafe(stop_all, attempts, reason)

        def post(why: Why) -> None:
            loop.call_soon_threadsafe(self.departure.begin, why)

        return Orders(
            stop=stop,
            drain=lambda: post(Why.DRAIN),
            lost=lambda: post(Why.LOST),
            kill_children=self.children.kill_all,
            told_at=lambda: self.departure.told_at,
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
