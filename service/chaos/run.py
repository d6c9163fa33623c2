"""One run from its first process to its verdict: break, heal, wait, collect, judge."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from service.chaos import arming, collect, ledger, plan, workload
from service.chaos.checks import judge
from service.chaos.clients import Clients
from service.chaos.evidence import Evidence, Happened
from service.chaos.faults import Faults
from service.chaos.options import Options
from service.chaos.plan import FAILPOINTS, Fault
from service.chaos.report import Report
from service.chaos.stack import Stack
from service.chaos.workload import POOLS, PRIORITIES
from service.embedded import remove
from service.supervise import StopSignals

SETTLE_SECONDS: Final = 900.0
"""How long everything may take to end after the last fault; an idle machine needs some twenty."""
STALLED_SECONDS: Final = 120.0
"""How long it may be that not one job ends. How many end in a second says more about the machine than about promises."""
ANSWER_SECONDS: Final = 120.0
"""How long the clients' last requests may take after it."""
_LOOK_SECONDS = 10.0  # between two checks of the tables while faults happen
_POLL_SECONDS = 0.25
_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_QUEUES = [p if pool == POOLS[0] else f"{pool}:{p}" for pool in POOLS for p in PRIORITIES]


@dataclass(frozen=True, slots=True)
class _Script:
    """What a seed makes of a run."""

    steps: Sequence[workload.Step]
    faults: Sequence[Fault]


async def run(options: Options, folder: Path, tell: Callable[[str], None]) -> Report:
    """Runs it in `folder`. Raises NotReadyError and EmbeddedError where the deployment does not come up."""
    script = _Script(
        workload.steps(options.seed, options.seconds, options.rate),
        plan.schedule(options.seed, options.seconds, options.faults),
    )
    evidence = Evidence()
    async with (
        Stack(options, folder, tell) as stack,
        Clients([api.url for api in stack.fleet.apis], options.seed, stack.keys) as c,
    ):
        evidence.records = c.records
        tell(f"{len(script.steps)} requests and {len(script.faults)} faults in {options.seconds:g} seconds")
        if FAILPOINTS in options.faults:
            stack.arm()
        evidence.happened = await _break(stack, c, script, evidence, tell)
        tell("healing")
        await stack.heal()
        healed = time.monotonic()
        await stack.ready()
        tell("waiting for the last answers")
        await c.settle(ANSWER_SECONDS)
        await c.resume_everything(_QUEUES)
        tell("waiting for everything to end")
        evidence.unfinished = await _until_everything_ended(stack, healed + SETTLE_SECONDS)
        evidence.settled = time.monotonic() - healed
        tell("draining everybody")
        await stack.fleet.close()
        evidence.left = stack.fleet.end_left_behind()
        await collect.stores(evidence, stack.postgres, stack.valkey)
        evidence.lives = stack.fleet.lives
        evidence.lines = ledger.read(stack.ledger)
        evidence.fired = arming.fired(arming.log_of(folder))
    return Report(options, evidence, judge(evidence))


async def _break(
    stack: Stack, clients: Clients, script: _Script, evidence: Evidence, tell: Callable[[str], None]
) -> list[Happened]:
    """Submits and breaks things at the same time; returns when both are over."""
    breaking = Faults(stack)
    looking = asyncio.create_task(_keep_looking(stack, evidence))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(clients.follow(script.steps))
            happening = [group.create_task(_at(fault, breaking, tell)) for fault in script.faults]
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    return [task.result() for task in happening]


async def _at(fault: Fault, breaking: Faults, tell: Callable[[str], None]) -> Happened:
    await asyncio.sleep(fault.at)
    happened = await breaking.inflict(fault)
    tell(f"{fault}: {happened.what}" if happened.really else f"{fault}: did not happen: {happened.what}")
    return happened


async def _keep_looking(stack: Stack, evidence: Evidence) -> None:
    found: list[str] = []
    evidence.looks = found
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        found += await collect.look(stack.postgres)


async def _until_everything_ended(stack: Stack, deadline: float) -> int:
    """How many jobs have not ended, once all have, none has for too long, or at the deadline by the monotonic clock."""
    left: int | None = None
    ended = time.monotonic()
    while left != 0 and time.monotonic() < min(deadline, ended + STALLED_SECONDS):
        await asyncio.sleep(_POLL_SECONDS)
        with contextlib.suppress(*_UNREACHABLE):
            now = await collect.unfinished(stack.postgres)
            if left is None or now < left:
                left, ended = now, time.monotonic()
    return 1 if left is None else left  # nobody could be asked


class StoppedError(Exception):
    """Somebody broke the run off."""


async def until_stopped(work: Coroutine[Any, Any, Report]) -> Report:
    """The result of a run. On SIGINT, SIGTERM or SIGHUP it is cancelled, which ends all its processes: StoppedError."""
    with StopSignals(lambda: None) as signals:
        running = asyncio.create_task(work)
        asked = asyncio.create_task(signals.asked.wait())
        try:
            await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
        finally:
            for task in (running, asked):
                task.cancel()
            await asyncio.gather(running, asked, return_exceptions=True)
    raise StoppedError


def make_folder(options: Options) -> Path:
    """Where a run writes. Raises OSError."""
    if options.folder is None:
        folder = Path(tempfile.mkdtemp(prefix="errander-chaos-"))
    else:
        folder = options.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # started by root, the servers run as somebody else
    return folder


def discard(folder: Path) -> None:
    """Removes everything that a run has written."""
    for child in folder.iterdir():
        if child.is_symlink():  # a server's files that lie elsewhere, because its user cannot come here
            remove(child)
    shutil.rmtree(folder)
