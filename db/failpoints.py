"""Failpoints: named places at the edges of the protocol where a test makes a process die, hang or fail.

Off, and next to free, unless a process is started with `ERRANDER_FAILPOINTS`, which it refuses unless `ERRANDER_ENV`
is `test`. `hit` stands where code cannot wait, `reach` where it awaits: there a pause does not hold up the event loop.
What fires is written to a log of the test's first, so that what really happened can be counted afterwards.

Owns the rules and what they do; which places there are stands in `NAMES`. Reads the environment only when it is armed,
which every command does before anything else. `docs/failpoints.md` has the grammar.
"""

import asyncio
import os
import random
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from db.errors import Unavailable

RULES: Final = "ERRANDER_FAILPOINTS"
"""Rules, comma separated: name:action[(argument)][:probability][*count]."""
SEED: Final = "ERRANDER_FAILPOINTS_SEED"
LOG: Final = "ERRANDER_FAILPOINTS_LOG"
"""A file: one line is appended for each time anything fires."""
WHEN: Final = "ERRANDER_FAILPOINTS_WHEN"
"""A file: nothing fires while it is missing, so that a test chooses the moment."""
ENVIRONMENT: Final = "ERRANDER_ENV"

_POLL_SECONDS = 0.01  # how often a file that is waited for is looked for


class FailpointsRefused(ValueError):
    """The rules cannot be used, or may not be used here. `lines` says why, a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class InjectedOutage(Unavailable):
    """What `raise` raises at an edge to PostgreSQL: the connection broke, and the outcome is unknown."""


class InjectedReset(ConnectionResetError):
    """What `raise` raises at an edge to Redis."""


class InjectedFault(RuntimeError):
    """What `raise` raises where no server is involved: a fault of this program."""


class Raises(StrEnum):
    """What `raise` means at a point: an error that the code there must live with."""

    OUTAGE = "InjectedOutage"
    RESET = "InjectedReset"
    FAULT = "InjectedFault"
    NOTHING = "nothing"
    """`raise` is refused there."""


class Action(StrEnum):
    """What a rule does."""

    KILL = "kill"
    EXIT = "exit"
    STOP = "stop"
    RAISE = "raise"
    SLEEP = "sleep"
    WAIT = "wait"


NAMES: Final[Mapping[str, Raises]] = MappingProxyType(
    {
        # a submit, from the request to its hint
        "api.unkeyed.committing": Raises.OUTAGE,
        "api.unkeyed.committed": Raises.OUTAGE,
        "api.keyed.committing": Raises.OUTAGE,
        "api.keyed.committed": Raises.OUTAGE,
        "api.batch.committing": Raises.OUTAGE,
        "api.batch.committed": Raises.OUTAGE,
        "api.batch.publishing": Raises.NOTHING,
        "api.publishing": Raises.NOTHING,
        "api.answering": Raises.NOTHING,
        "api.change.committing": Raises.OUTAGE,
        "api.change.committed": Raises.OUTAGE,
        "publisher.sending": Raises.RESET,
        "publisher.sent": Raises.RESET,
        # a worker's way to a job
        "take.popping": Raises.RESET,
        "take.popped": Raises.RESET,
        "claim.by_id.sending": Raises.OUTAGE,
        "claim.by_id.committed": Raises.OUTAGE,
        "claim.by_head.sending": Raises.OUTAGE,
        "claim.by_head.committed": Raises.OUTAGE,
        "claim.judging": Raises.OUTAGE,
        "attempt.starting": Raises.FAULT,
        "attempt.ended": Raises.FAULT,
        "child.starting": Raises.FAULT,
        "child.ended": Raises.FAULT,
        "flush.sending": Raises.OUTAGE,
        "flush.committed": Raises.OUTAGE,
        "flush.confirmed": Raises.OUTAGE,
        # the control thread
        "worker.joining": Raises.OUTAGE,
        "beat.sending": Raises.OUTAGE,
        "beat.answered": Raises.OUTAGE,
        "roll_call.sending": Raises.OUTAGE,
        "roll_call.answered": Raises.OUTAGE,
        "roll_call.giving_back": Raises.OUTAGE,
        "silence.looking": Raises.OUTAGE,
        # the leader
        "leader.electing": Raises.OUTAGE,
        "leader.elected": Raises.OUTAGE,
        "leader.resigning": Raises.OUTAGE,
        "reaper.rescuing": Raises.OUTAGE,
        "reaper.rescued": Raises.OUTAGE,
        "reaper.expiring": Raises.OUTAGE,
        "horizon.publishing": Raises.OUTAGE,
        "pruner.pruning": Raises.OUTAGE,
        # the end of a process
        "ending.draining": Raises.NOTHING,
        "ending.writing": Raises.OUTAGE,
        "ending.written": Raises.OUTAGE,
        "ending.leaving": Raises.NOTHING,
    }
)
"""Every failpoint, and what `raise` raises there. Each name stands in the source exactly once."""


@dataclass(slots=True)
class Rule:
    """What is to happen at a point; `left` how often it still may, in this process."""

    name: str
    action: Action
    argument: str = ""
    probability: float = 1.0
    left: float = float("inf")


class _Armed:
    """The rules of one process. Hit from the job loop and from the control thread."""

    def __init__(self, rules: Mapping[str, Rule], environ: Mapping[str, str]) -> None:
        self._rules = rules
        seed = environ.get(SEED, "")
        # With one seed for a whole run, processes must not all draw the same numbers.
        self._random = random.Random(f"{seed}:{os.getpid()}") if seed else random.Random()
        self._log = environ.get(LOG, "")
        self._when = Path(environ[WHEN]) if environ.get(WHEN) else None
        self._lock = threading.Lock()

    def drawn(self, name: str) -> Rule | None:
        """The rule that fires now, if one does; it is in the log by then."""
        rule = self._rules.get(name)
        if rule is None or (self._when is not None and not self._when.exists()):
            return None
        with self._lock:
            if rule.left <= 0 or self._random.random() >= rule.probability:
                return None
            rule.left -= 1
        self._write(rule)
        return rule

    def _write(self, rule: Rule) -> None:
        if not self._log:
            return
        line = f"{time.time()!r} {time.monotonic()!r} {os.getpid()} {rule.name} {rule.action} {rule.argument}\n"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())  # one write: never torn by another process's
        finally:
            os.close(descriptor)


_armed: _Armed | None = None


def arm(environ: Mapping[str, str]) -> None:
    """Takes the rules of `environ`; without any, nothing fires in this process. Raises FailpointsRefused."""
    global _armed  # noqa: PLW0603 - a failpoint is reached from everywhere, so its state is the process's
    _armed = None
    text = environ.get(RULES, "").strip()
    if text:
        _armed = _Armed(read(text, environ.get(ENVIRONMENT, "")), environ)


def hit(name: str) -> None:
    """The process is at this point. Whatever fires holds up its thread."""
    if _armed is not None and (rule := _armed.drawn(name)) is not None:
        _act(rule)


async def reach(name: str) -> None:
    """The same where the code awaits: a pause holds up this task alone."""
    if _armed is None or (rule := _armed.drawn(name)) is None:
        return
    match rule.action:
        case Action.SLEEP:
            await asyncio.sleep(float(rule.argument))
        case Action.WAIT:
            while _awaited(rule):  # noqa: ASYNC110 - another process makes the file
                await asyncio.sleep(_POLL_SECONDS)
        case _:
            _act(rule)


def _act(rule: Rule) -> None:
    match rule.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.EXIT:
            os._exit(int(rule.argument))  # at once: an exception could be caught on its way
        case Action.SLEEP:
            time.sleep(float(rule.argument))
        case Action.WAIT:
            while _awaited(rule):
                time.sleep(_POLL_SECONDS)
        case Action.RAISE:
            _raise(rule.name)


def _awaited(rule: Rule) -> bool:
    return not Path(rule.argument).exists()


def _raise(name: str) -> None:
    said = f"failpoint {name}"
    match NAMES[name]:
        case Raises.OUTAGE:
            raise InjectedOutage(said) from ConnectionResetError(said)
        case Raises.RESET:
            raise InjectedReset(said)
        case _:
            raise InjectedFault(said)


# -- reading rules -------------------------------------------------------------------------------------------------

_BETWEEN = re.compile(r",(?![^(]*\))")  # a comma, but not inside an argument
_RULE = re.compile(
    r"(?P<name>[a-z_.]+):(?P<action>[a-z]+)(?:\((?P<argument>[^()]*)\))?"
    r"(?::(?P<probability>\d+(?:\.\d+)?|\.\d+))?(?:\*(?P<count>\d+))?"
)


def read(text: str, environment: str) -> dict[str, Rule]:
    """The rules by name. `environment` is what `ERRANDER_ENV` says. Raises FailpointsRefused with all that is wrong."""
    if environment != "test":
        raise FailpointsRefused([f"{RULES} makes a process fail on purpose; it is for {ENVIRONMENT}=test only"])
    rules: dict[str, Rule] = {}
    wrong = []
    for part in filter(None, (part.strip() for part in _BETWEEN.split(text))):
        found = _rule(part)
        if isinstance(found, str):
            wrong.append(f"{RULES}: {part!r}: {found}")
        elif found.name in rules:
            wrong.append(f"{RULES}: {part!r}: {found.name} has a rule already")
        else:
            rules[found.name] = found
    if wrong:
        raise FailpointsRefused(wrong)
    return rules


def _rule(part: str) -> Rule | str:
    """One rule, or what is wrong with it."""
    match = _RULE.fullmatch(part)
    if match is None:
        return "a rule is name:action[(argument)][:probability][*count]"
    name, action, argument = match["name"], match["action"], match["argument"]
    if name not in NAMES:
        return f"there is no such failpoint; there are {', '.join(NAMES)}"
    if action not in set(Action):
        return f"there is no such action; there are {', '.join(Action)}"
    if action == Action.RAISE and NAMES[name] is Raises.NOTHING:
        return "nothing can be raised there"
    probability, count = float(match["probability"] or 1), float(match["count"] or "inf")
    if probability > 1:
        return "a probability is at most 1"
    wrong = _argument_refused(Action(action), argument)
    return wrong or Rule(name, Action(action), argument or "", probability, count)


def _argument_refused(action: Action, argument: str | None) -> str:
    match action:
        case Action.SLEEP:
            return "" if re.fullmatch(r"\d+(\.\d+)?|\.\d+", argument or "") else "sleep(seconds)"
        case Action.EXIT:
            return "" if re.fullmatch(r"\d+", argument or "") and int(argument or 0) < 256 else "exit(0 to 255)"
        case Action.WAIT:
            return "" if argument else "wait(path of a file)"
        case _:
            return "" if argument is None else f"{action} takes no argument"
