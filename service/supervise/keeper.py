"""One part over its processes: the first start, the watch, the way back after a death, the stop."""

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals

from service.supervise.child import Child
from service.supervise.output import Console, LogFile, last_lines
from service.supervise.part import EXIT_RETIRED, Output, Part, Restart
from service.supervise.records import write_record

_READY_POLL_SECONDS = 0.02
# A life this long was a good one: the next death starts the waits from the beginning.
_GOOD_LIFE_SECONDS = 10.0
_LAST_LINES = 15


class PartError(Exception):
    """A part ended, or took too long, before it was ready, or refused to start.

    `part` is its name; `lines` the end of its log; `code` the exit code for the command that wanted it.
    """

    def __init__(self, part: str, reason: str, lines: Sequence[str] = (), *, code: int = 1) -> None:
        super().__init__(f"{part} {reason}")
        self.part = part
        self.lines = tuple(lines)
        self.code = code


class Keeper:
    """Keeps one part running: its present process, if any, and the task that brings it back."""

    def __init__(
        self,
        part: Part,
        console: Console,
        records: Path | None,
        backoff: Callable[[int], float],
        hurry: asyncio.Event,
    ) -> None:
        self.part = part
        self.child: Child | None = None
        self._console = console
        self._records = records
        self._backoff = backoff
        self._hurry = hurry
        self._log = None if part.log_file is None or part.output is Output.INHERIT else LogFile(part.log_file)
        self._record: Path | None = None
        self._keeping: asyncio.Task[int] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start the part, return when it is ready, and keep it running from then on. Raises PartError."""
        try:
            async with asyncio.timeout(self.part.ready_timeout):
                child = await self._first_ready()
        except TimeoutError:  # first, because it is an OSError too
            reason = f"was not ready within {self.part.ready_timeout:g} seconds"
            raise PartError(self.part.name, reason, self._last_lines()) from None
        except OSError as error:
            raise PartError(self.part.name, f"cannot be started: {error}") from error
        self._keeping = asyncio.create_task(self._keep(child))

    def start_whatever_comes(self) -> None:
        """Start the part and keep it running even if the first start fails."""
        self._keeping = asyncio.create_task(self._keep(None))

    async def run_once(self) -> int:
        """Run the part to its end. Cancelling stops it."""
        try:
            await self._prepare()
            return await self._end_of(self._spawn())
        finally:
            await self.stop()

    async def finished(self) -> int:
        """Wait until the part is over for good; its last exit code. Raises PartError if it refused to start."""
        if self._keeping is None:
            return 0
        await asyncio.wait({self._keeping})
        return 0 if self._keeping.cancelled() else self._keeping.result()

    async def stop(self) -> int:
        """End the part for good; 0 when nothing ran."""
        self._stopping = True
        if self._keeping is not None and self.child is None:
            self._keeping.cancel()  # it waits for its next start
        code = 0
        if self.child is not None:
            code = await self.child.stop(self._hurry)
        if self._keeping is not None:
            await asyncio.wait({self._keeping})
            if not self._keeping.cancelled():
                self._keeping.exception()  # a refusal that nobody waited for is no fault of the event loop's
        self._forget()
        if self._log is not None:
            self._log.close()
        return code

    async def _first_ready(self) -> Child:
        while True:
            await self._prepare()
            child = self._spawn()
            ended = asyncio.create_task(self._end_of(child))
            ready = asyncio.create_task(self._until_ready(child.pid))
            try:
                await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
                if ready.done() and not ended.done():
                    ready.result()
                    return child
            finally:
                for task in (ended, ready):
                    task.cancel()
                await asyncio.gather(ended, ready, return_exceptions=True)
            code = await self._end_of(child)
            if code == 0 and self.part.restart is Restart.ON_FAILURE:
                return child  # it had so little to do that it finished before it was asked
            if code != EXIT_RETIRED:
                raise PartError(self.part.name, f"did not start: it {_how(code)}", self._last_lines())

    async def _keep(self, child: Child | None) -> int:
        deaths, was_up = 0, False
        while True:
            born = time.monotonic()
            if child is None:
                child = await self._try_to_start()
            code = -1 if child is None else await self._end_of(child)
            ran, child = child is not None, None
            if self._stopping or (ran and code == 0 and self.part.restart is Restart.ON_FAILURE):
                return code
            is_good = time.monotonic() - born > _GOOD_LIFE_SECONDS
            was_up = was_up or is_good
            if ran and code == self.part.exit_refused and not was_up:
                raise PartError(self.part.name, f"refused to start: it {_how(code)}", self._last_lines(), code=code)
            deaths = 1 if is_good else deaths + 1
            wait = 0.0 if code == EXIT_RETIRED else self._backoff(deaths)
            if ran:
                when = "at once" if wait == 0 else f"in {wait:g} s"
                self._console.say(f"{self.part.name} {_how(code)}; it is started again {when}")
            await asyncio.sleep(wait)

    async def _try_to_start(self) -> Child | None:
        try:
            await self._prepare()
            return self._spawn()
        except Exception as error:  # whatever keeps it from starting is said, and tried again
            self._console.say(f"{self.part.name} cannot be started: {error}")
            return None

    async def _prepare(self) -> None:
        if self.part.before_start is not None:
            await asyncio.to_thread(self.part.before_start)

    def _spawn(self) -> Child:
        self.child = Child(self.part, self._console, self._log)
        if self._records is not None:
            self._record = write_record(
                self._records, self.part.name, self.child.pid, self.part.argv, self.part.stop_signal
            )
        return self.child

    async def _end_of(self, child: Child) -> int:
        code = await child.ended()
        if self.child is child:
            self.child = None
            self._forget()
        return code

    async def _until_ready(self, pid: int) -> None:
        while self.part.ready is not None:
            answer = self.part.ready(pid)
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(_READY_POLL_SECONDS)

    def _forget(self) -> None:
        if self._record is not None:
            self._record.unlink(missing_ok=True)
            self._record = None

    def _last_lines(self) -> list[str]:
        if self._log is None or self.part.output is Output.TERMINAL:
            return []  # they stand on the terminal already
        return last_lines(self._log.path, _LAST_LINES)


def _how(code: int) -> str:
    if code == EXIT_RETIRED:
        return "retired"
    if code < 0:
        return f"was ended by {Signals(-code).name}"
    return f"ended with exit code {code}"
