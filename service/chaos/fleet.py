"""The worker and API processes of a run: started, broken, started again, and every end written down."""

import asyncio
import contextlib
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Final

from service.chaos import arming, family, ledger
from service.chaos.evidence import Life
from service.chaos.ledger import LEDGER_VARIABLE
from service.chaos.proxy import Proxy
from service.chaos.workload import POOLS
from service.supervise import free_port, last_lines, spawn
from service.supervise.identity import command_line

LEASE_SECONDS: Final = 3.0
HINT_WINDOW: Final = 50
HINT_HORIZON_SECONDS: Final = 5.0
SHORT: Final[Mapping[str, str]] = {
    "ERRANDER_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "ERRANDER_HEARTBEAT_SECONDS": "0.5",
    "ERRANDER_REAPER_SECONDS": "0.5",
    "ERRANDER_LEADER_SECONDS": "2",
    "ERRANDER_STUCK_SECONDS": "1",
    "ERRANDER_DRAIN_SECONDS": "2",
    "ERRANDER_HEAD_SECONDS": "0.5",
    "ERRANDER_HINT_WINDOW": str(HINT_WINDOW),
    "ERRANDER_HINT_HORIZON_SECONDS": f"{HINT_HORIZON_SECONDS:g}",
    "ERRANDER_SLOTS": "8",
    "ERRANDER_THREADS": "8",
}
"""Ten times shorter than in production, and small, so that minutes show what takes days there."""

END_SECONDS: Final = 60.0
"""How long after SIGTERM a process may take: some twenty times its drain, for machines that have much else to do."""
_LAST_LINES = 12
_READY: Final = "worker.ready"
_LEAVING: Final = ("worker.ending", "worker.loop_blocked", "worker.lease_lost")
_POLL_SECONDS = 0.05
_PAUSE_SECONDS = (0.1, 1.0)  # between the end of a process and the next one in its place
_CHILDREN: Final = ("workers.child", "errander")
_ROOT: Final = Path(__file__).resolve().parents[2]
_OURS: Final = ("ERRANDER_", "DATABASE_URL", "REDIS_URL")


class Member:
    """One place in the fleet: a name, its links to both servers, and the process that fills it at present."""

    def __init__(self, who: str, argv: Sequence[str], links: Mapping[str, Proxy], port: int = 0) -> None:
        self.who = who
        self.argv = tuple(argv)
        self.links = links
        """`postgres` and `valkey`."""
        self.port = port
        self.lives: list[Life] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def life(self) -> Life | None:
        """Of the process that runs."""
        return self.lives[-1] if self.lives and self.lives[-1].ended is None else None

    @property
    def url(self) -> str:
        """Where it serves, for an API."""
        return f"http://127.0.0.1:{self.port}"


class Fleet:
    """All of them. Whatever ends is started again after a moment, until `closing`."""

    def __init__(self, folder: Path, seed: int, ledger: Path, *, armed: bool) -> None:
        self.members: list[Member] = []
        self.closing = False
        self._folder = folder
        self._seed = seed
        self._ledger = ledger
        self._armed = armed
        self._pauses = random.Random(f"{seed}:pauses")
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def workers(self) -> list[Member]:
        """The places of workers."""
        return [member for member in self.members if not member.who.startswith("api")]

    @property
    def apis(self) -> list[Member]:
        """The places of APIs."""
        return [member for member in self.members if member.who.startswith("api")]

    @property
    def lives(self) -> list[Life]:
        """Every process there was, by the time it began."""
        return sorted((life for member in self.members for life in member.lives), key=lambda life: life.began)

    def add_api(self, links: Mapping[str, Proxy]) -> None:
        """One more API."""
        port = free_port()
        self.members.append(Member(f"api-{len(self.apis) + 1}", ("api", "--port", str(port)), links, port))

    def add_worker(self, links: Mapping[str, Proxy], pool: str) -> None:
        """One more worker; `pool` is one of the workload's."""
        who = f"worker-{len(self.workers) + 1}" if pool == POOLS[0] else f"{pool}-{len(self.workers) + 1}"
        self.members.append(Member(who, ("worker", "--pool", pool), links))

    def start(self, environment: Callable[[Member], Mapping[str, str]]) -> None:
        """Starts everybody and keeps them running; `environment` has the addresses of a member."""
        self._environment = environment
        for member in self.members:
            self._spawn(member)
            self._keepers.append(asyncio.create_task(self._keep(member), name=f"chaos.keep.{member.who}"))

    def tell(self, member: Member, number: Signals) -> bool:
        """Sends a signal to the process in this place; False where there is none."""
        life, process = member.life, member.process
        if life is None or process is None or process.poll() is not None:
            return False
        life.told.append(number.name)
        process.send_signal(number)
        return True

    async def end(self, member: Member) -> bool:
        """SIGTERM, and returns when it is gone, by SIGKILL if need be; False where there was nobody."""
        life, process = member.life, member.process
        if life is None or process is None or not self.tell(member, SIGTERM):
            return False
        deadline = time.monotonic() + END_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                life.overdue = True
                self.tell(member, SIGKILL)
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def thaw(self) -> None:
        """Lets everybody go on."""
        for member in self.members:
            if member.life is not None:
                family.thaw([member.life.pid, *family.descendants(member.life.pid)])

    async def close(self) -> None:
        """Drains everybody and starts nobody again; returns when all are gone."""
        self.closing = True
        await asyncio.gather(*(self.end(member) for member in self.members))
        await asyncio.gather(*self._keepers)

    async def kill(self) -> None:
        """Ends everybody and everything they have started, at once; for the end of a run that was broken off."""
        self.closing = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for member in self.members:
            life, process = member.life, member.process
            if life is None or process is None:
                continue
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, SIGKILL)
            life.code, life.ended = process.wait(), time.monotonic()  # what it has left behind is looked for now
        self.end_left_behind()

    def end_left_behind(self) -> list[str]:
        """Ends what members have started and left running, and says what it was: there should be nothing."""
        present = {life.pid for life in self.lives if life.ended is None}
        ended = {life.pid for life in self.lives} - present
        # a child may lead a group of its own, and has written down who it is if it ever ran a job
        ended |= {line.pid for line in ledger.read(self._ledger) if line.parent not in present}
        left = []
        for pid in family.in_groups(ended - present):
            text = command_line(pid) or ""
            if any(word in text for word in _CHILDREN):  # never a stranger that got the number since
                left.append(f"process {pid}: {text}")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, SIGKILL)
        return left

    # -- one process after another -----------------------------------------------------------------------------------

    async def _keep(self, member: Member) -> None:
        while True:
            process, life = member.process, member.life
            if process is not None and life is not None and process.poll() is not None:
                life.ended, life.code = time.monotonic(), process.returncode
                life.in_service, life.words = _was_in_service(life.log), tuple(last_lines(life.log, _LAST_LINES))
            if member.life is None:
                if self.closing:
                    return
                await asyncio.sleep(self._pauses.uniform(*_PAUSE_SECONDS))
                if not self.closing:
                    self._spawn(member)
            await asyncio.sleep(_POLL_SECONDS)

    def _spawn(self, member: Member) -> None:
        generation = len(member.lives)
        log = self._folder / f"{member.who}.{generation}.log"
        with log.open("wb") as output:
            member.process = spawn(
                (_errander(), *member.argv),
                env=self._environ(member, generation),
                cwd=self._folder,
                death_signal=SIGKILL,  # nothing of a run outlives it
                output=output,
            )
        member.lives.append(Life(member.who, generation, member.process.pid, log, time.monotonic()))

    def _environ(self, member: Member, generation: int) -> dict[str, str]:
        """The environment of the run without what concerns another deployment, and what is a member's own."""
        api = member.who.startswith("api")
        found = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = os.pathsep.join(part for part in (str(_ROOT), found.get("PYTHONPATH", "")) if part)
        found |= {
            "ERRANDER_ENV": "test",
            "ERRANDER_TASKS": "service.chaos.tasks",
            "ERRANDER_BUILTIN_TASKS": "demo",
            "ERRANDER_METRICS_PORT": "0",
            "ERRANDER_LOG_FORMAT": "json",
            # with a secret an API starts while PostgreSQL is away; with keys alone it could not tell whether there is one
            "ERRANDER_JWT_SECRET": secrets.token_hex(32),
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            LEDGER_VARIABLE: str(self._ledger),
            **SHORT,
            **self._environment(member),
        }
        if self._armed:
            rules = arming.rules(self._seed, member.who, generation, api=api)
            found |= arming.environment(self._seed, rules, self._folder)
        return found


def _errander() -> str:
    """The command beside this interpreter."""
    return str(Path(sys.executable).with_name("errander"))


def _was_in_service(log: Path) -> bool:
    """Whether a worker's last word of its state was that it is ready: before and after, it has nothing and ends at once."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return text.rfind(f'"event": "{_READY}"') > max(text.rfind(f'"event": "{word}"') for word in _LEAVING)
