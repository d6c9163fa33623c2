"""Run parts in the foreground until a signal, or until all have finished by themselves."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from service.supervise.keeper import PartError
from service.supervise.output import Console
from service.supervise.part import Part
from service.supervise.supervisor import Supervisor

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered, SIGINT, SIGTERM and SIGHUP stop instead of killing: the first sets `asked`, a second hurries.

    A signal that was ignored before (SIGHUP under nohup) stays ignored.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self.asked = asyncio.Event()
        self._hurry = hurry
        self._taken: list[signal.Signals] = []

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)
                self._taken.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._taken:
            loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self._hurry()
        self.asked.set()


def run_parts(
    parts: Sequence[Part],
    *,
    on_ready: Callable[[], None] | None = None,
    console: Console | None = None,
    records: Path | None = None,
) -> int:
    """Run `parts` in the foreground and return the exit code of the command that asked for it.

    Stages start in order, each once the one before is ready; `on_ready` is called when all are. Parts that die are
    started again. SIGINT and SIGTERM stop everything in reverse and the answer is 0; a second one does it in a
    hurry. When all parts have finished by themselves the answer is the first exit code that is not 0, else 0;
    when one cannot be started it is 1, when one refuses to start its `exit_refused`, and the reason is on the console.
    """
    console = Console() if console is None else console
    try:
        return asyncio.run(_run(parts, on_ready, console, records))
    finally:
        console.flush()


async def _run(
    parts: Sequence[Part], on_ready: Callable[[], None] | None, console: Console, records: Path | None
) -> int:
    supervisor = Supervisor(console, records=records)
    with StopSignals(supervisor.hurry) as signals:
        work = asyncio.create_task(_until_finished(supervisor, parts, on_ready))
        asked = asyncio.create_task(signals.asked.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return 0
            return work.result()
        except PartError as failure:
            for line in failure.lines:
                console.say(line)
            console.say(f"errander: {failure}")
            return failure.code
        finally:
            work.cancel()
            asked.cancel()
            await asyncio.gather(work, asked, return_exceptions=True)
            await supervisor.stop()


async def _until_finished(supervisor: Supervisor, parts: Sequence[Part], on_ready: Callable[[], None] | None) -> int:
    ordered = sorted(parts, key=lambda part: part.stage)
    for _, stage in groupby(ordered, key=lambda part: part.stage):
        await supervisor.start(list(stage))
    if on_ready is not None:
        on_ready()
    return await supervisor.finished()
