"""Why and how one process ends.

*Drain* (SIGTERM, a request over the API, `--burst` with nothing left): stop taking, let jobs end, give back what did
not, exit. *Retire* (code that cannot be stopped, `ERRANDER_MAX_JOBS`, a control thread that has ended): the same, then
start again. *Lost* (the database has declared this worker dead): stop everything, write nothing, start again.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum

import structlog

from db import failpoints
from workers import ending
from workers.attempt import Attempt, Stop
from workers.children import Children
from workers.control import Control
from workers.lease import Lease
from workers.room import Room
from workers.settings import WorkerSettings
from workers.watchdog import LOST_GRACE_SECONDS

_log = structlog.get_logger("errander.worker")

STOP_SECONDS = 2.0
"""How long code may take to end once it was stopped by a drain."""


class Why(StrEnum):
    """Why a process ends."""

    DRAIN = "drain"
    RETIRE = "retire"
    LOST = "lost"


class Departure:
    """Owned by one process, on its job loop."""

    def __init__(self, settings: WorkerSettings, room: Room, lease: Lease) -> None:
        self._settings = settings
        self._room = room
        self._lease = lease
        self._hurry = asyncio.Event()
        self._dismissed = False
        self.why: Why | None = None
        """None until the process is told to end."""
        self.told = asyncio.Event()
        """Set with `why`."""
        self.told_at: float | None = None
        """When a signal was heard, by the monotonic clock; also read by the control thread."""
        self.culprits: set[Attempt] = set()
        """Attempts whose code cannot be stopped: nobody waits for them."""

    @property
    def again(self) -> bool:
        """Whether this process is to run again: not if anybody has told it to leave."""
        return self.why in (Why.RETIRE, Why.LOST) and not self._dismissed

    def begin(self, why: Why, *, hurry: bool = False) -> None:
        """Tells the process to end; with `hurry` without waiting for jobs that run."""
        self._dismissed = self._dismissed or why is Why.DRAIN
        if self.why is None or why is Why.LOST:
            _log.info("worker.ending", why=str(why), running=len(self._room.running))
            self.why = why
            self.refuse_line()
        self.told.set()
        self._room.changed.set()
        if hurry or why is Why.LOST:
            self._hurry.set()

    def refuse_line(self) -> None:
        """Gives back what waits for a slot."""
        for attempt in self._room.leave_line():
            attempt.decline(Stop.LOST if self.why is Why.LOST else Stop.DRAIN)

    async def carry_out(self, goodbye: Callable[[], Awaitable[None]], control: Control, children: Children) -> None:
        """Lets jobs end, stops the rest, says `goodbye`; leaves directly if any code is still running."""
        await failpoints.reach("ending.draining")
        if self.why is Why.LOST:
            await self._stop_running(Stop.LOST, LOST_GRACE_SECONDS)
        else:
            await self._let_run(self._settings.drain)
            await self._stop_running(Stop.LOST if self._lease.lost else Stop.DRAIN, STOP_SECONDS)
        try:
            # asked again: the lease may have been lost meanwhile
            await (ending.resigned(control.resign) if self.why is Why.LOST else goodbye())
        except Exception:  # whatever it is: code that still runs must end with this process
            _log.exception("ending.broken")
        if self._room.running:
            children.kill_all()
            ending.leave(again=self.again, supervised=self._settings.supervised)

    async def _let_run(self, seconds: float) -> None:
        """Waits for what runs, culprits excepted, up to `seconds` or until told to hurry."""
        deadline = time.monotonic() + seconds
        while self._room.running - self.culprits and not self._hurry.is_set() and time.monotonic() < deadline:
            await self._room.wait(min(0.1, max(0.0, deadline - time.monotonic())))

    async def _stop_running(self, reason: Stop, seconds: float) -> None:
        for attempt in list(self._room.running):
            attempt.stop(reason)
        deadline = time.monotonic() + seconds
        while self._room.running - self.culprits and time.monotonic() < deadline:
            await self._room.wait(0.05)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Hears SIGTERM and SIGINT; the second one says not to wait for jobs."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            self.begin(Why.DRAIN, hurry=self._dismissed)

        def heard(*_: object) -> None:
            # Not the loop's own way: a task that holds up the loop would hold that up too, and the control thread must
            # know that this process is to leave.
            self.told_at = self.told_at or time.monotonic()
            loop.call_soon_threadsafe(told)

        former = {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler or signal.SIG_DFL)
