"""Holding answers until a job is final.

Redis brings the news (one subscription a process), PostgreSQL the truth: one query a second over all ids that somebody
waits for. So a lost message, or Redis being away, costs at most a second, and whoever waits holds no connection.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from db import jobs
from db.engine import Link
from db.errors import DatabaseError
from service.auth.principal import Principal
from service.limits.door import Door
from workers.hints import FINAL_CHANNEL
from workers.redis_client import connect

_log = structlog.get_logger("errander.waiting")

POLL_SECONDS = 1.0
"""How often PostgreSQL is asked, while anybody waits."""
WAITS = 2_000
"""Answers that one process holds: PostgreSQL is asked for the jobs of all of them at once."""
WAITS_OF_ONE = 200
"""Answers of one credential that one process holds."""


class Waiting:
    """Owned by a process; `start` and `stop` frame its two tasks."""

    def __init__(self, link: Link, redis_url: str) -> None:
        self._link = link
        self._redis = connect(redis_url, blocking=POLL_SECONDS)
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        self._listeners: dict[UUID, set[Callable[[UUID], None]]] = {}
        self._released_too: list[Callable[[], None]] = []
        self._somebody = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.door = Door("waits", most=WAITS, most_of_one=WAITS_OF_ONE, what="answers (`wait`)")
        self.stopping = False

    def start(self) -> None:
        """Starts listening and asking."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="errander.waiting.listen"),
            asyncio.create_task(self._ask(), name="errander.waiting.ask"),
        ]

    def release(self) -> None:
        """Lets everybody go who waits now or later, with whatever is known: the process is about to end."""
        self.stopping = True
        self._somebody.set()
        for events in self._waiters.values():
            for event in events:
                event.set()
        for call in self._released_too:
            call()

    def release_too(self, call: Callable[[], None]) -> None:
        """Has `call` called too when everybody is let go."""
        self._released_too.append(call)

    def listen(self, job_id: UUID, call: Callable[[UUID], None]) -> None:
        """Has `call` called when Redis says that the job is final: a hint that may never come."""
        self._listeners.setdefault(job_id, set()).add(call)
        self._somebody.set()

    def unlisten(self, job_id: UUID, call: Callable[[UUID], None]) -> None:
        """Ends what `listen` began."""
        calls = self._listeners[job_id]
        calls.discard(call)
        if not calls:
            del self._listeners[job_id]
        self._rest()

    async def stop(self) -> None:
        """Releases everybody and closes the subscription."""
        self.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def ping(self) -> None:
        """Asks Redis whether it is there. Raises RedisError or OSError."""
        await self._redis.ping()

    @contextlib.asynccontextmanager
    async def watch(self, job_id: UUID, principal: Principal) -> AsyncIterator["Watch"]:
        """Registers interest in a job. Read the job only inside, so that no end falls between reading and waiting.

        Raises Problem `quota-exceeded` or `unavailable` where too many answers are held.
        """
        with self.door.enter(principal), self._watched(job_id) as watch:
            yield watch

    @contextlib.contextmanager
    def _watched(self, job_id: UUID) -> Iterator["Watch"]:
        event = asyncio.Event()
        if self.stopping:
            event.set()
        self._waiters.setdefault(job_id, set()).add(event)
        self._somebody.set()
        try:
            yield Watch(self, event)
        finally:
            events = self._waiters[job_id]
            events.discard(event)
            if not events:
                del self._waiters[job_id]
            self._rest()

    def _rest(self) -> None:
        if not self._waiters and not self._listeners and not self.stopping:
            self._somebody.clear()

    def _over(self, job_id: UUID) -> None:
        for event in self._waiters.get(job_id, ()):
            event.set()

    # The loops ask for `stopping` too, because the client of Redis can lose a cancellation while it connects.

    async def _listen(self) -> None:
        while not self.stopping:
            await self._somebody.wait()
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(FINAL_CHANNEL)
                    while not self.stopping:
                        message = await channel.get_message(timeout=POLL_SECONDS)
                        if message is not None:
                            self._heard(message["data"])
            except (RedisError, OSError) as error:
                _log.warning("waiting.redis_away", error=repr(error))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:  # a fault of ours over one message must not end the news of all others
                _log.exception("waiting.failed")
                await asyncio.sleep(POLL_SECONDS)

    def _heard(self, data: bytes) -> None:
        if not self._waiters and not self._listeners:
            return
        for text in data.decode(errors="replace").split(","):
            with contextlib.suppress(ValueError):
                job_id = UUID(text)
                self._over(job_id)
                for call in self._listeners.get(job_id, ()):
                    call(job_id)

    async def _ask(self) -> None:
        while not self.stopping:
            await self._somebody.wait()
            await asyncio.sleep(POLL_SECONDS)
            ids = list(self._waiters)
            if not ids:
                continue
            try:
                for job_id in await jobs.final_among(self._link, ids):
                    self._over(job_id)
            except DatabaseError as error:
                _log.warning("waiting.database_away", error=str(error))
            except Exception:  # whoever waits now or later must not wait in vain
                _log.exception("waiting.failed")


class Watch:
    """One client's wait for one job."""

    def __init__(self, waiting: Waiting, event: asyncio.Event) -> None:
        self._waiting = waiting
        self._event = event

    async def until(self, deadline: float) -> bool:
        """Waits for news about the job, or for `deadline` (`time.monotonic()`).

        True: read the job again, it may be final. False: time is up, or the process is about to end.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return not self._waiting.stopping
