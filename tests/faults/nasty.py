"""Tasks whose own classes misbehave: each raises where a worker looks at what it was handed.

For the worker and fault tests, beside `tests.faults.tasks`. Every way is there as a coroutine, in a thread and in a
child process.
"""

import asyncio
import ctypes
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from pydantic import BaseModel, computed_field, field_validator

from errander import Cancel, Cancelled, Context, Fail, Retry, Snooze, SyncContext, task
from service.chaos import ledger
from service.chaos.ledger import What


class Wordless(Exception):
    """Neither its message nor its form can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __repr__(self) -> str:
        raise RuntimeError("no form")


class Leaving(Exception):
    """Whoever asks what it says is told to leave."""

    def __str__(self) -> str:
        raise SystemExit("gone")

    def __repr__(self) -> str:
        raise KeyboardInterrupt


class Nameless(type):
    """Makes classes that have no name."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__name__", "__module__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Anonymous(Exception, metaclass=Nameless):
    """Its class has no name."""


class Hollow(Snooze):
    """A snooze that never says until when."""

    def __init__(self) -> None:
        Exception.__init__(self, "hollow")


class Trap(Cancel):
    """A cancel whose reason cannot be read."""

    def __init__(self) -> None:
        Exception.__init__(self)

    @property
    def reason(self) -> str:  # type: ignore[override]
        raise SystemExit("no reason")


def _with(error: Any, name: str, value: object) -> Any:
    setattr(error, name, value)
    return error


def _chain() -> BaseException:
    error: BaseException = RuntimeError("first")
    for number in range(2_000):
        outer = RuntimeError(str(number))
        outer.__cause__ = error
        error = outer
    return error


RAISED: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator-exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "our-cancelled": Cancelled,
    "stop-iteration": StopIteration,
    "stop-async-iteration": StopAsyncIteration,
    "memory": MemoryError,
    "group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), Wordless(), SystemExit()]),
    "wordless": Wordless,
    "leaving": Leaving,
    "anonymous": Anonymous,
    "noted": lambda: _with(RuntimeError("x"), "__notes__", [Wordless()]),
    "chain": _chain,
    "cancel-trap": Trap,
    "snooze-hollow": Hollow,
    "snooze-nan": lambda: _with(Snooze(1), "defer", float("nan")),
    "snooze-text": lambda: _with(Snooze(1), "defer", "soon"),
    "retry-text": lambda: _with(Retry("again"), "defer", "soon"),
    "retry-none": lambda: _with(Retry(ValueError("why")), "defer", -1),  # type: ignore[arg-type]
    "retry-wordless": lambda: Retry(Wordless()),  # type: ignore[arg-type]
    "retry-refused": lambda: Retry(defer=-1),
}
"""Name → what makes the error. Each ends its attempt as a failure like any other."""

FINAL: dict[str, Callable[[], BaseException]] = {
    "cancel-error": lambda: Cancel(KeyError("x")),  # type: ignore[arg-type]
    "cancel-wordless": lambda: Cancel(Wordless()),  # type: ignore[arg-type]
    "fail-error": lambda: Fail(KeyError("x")),  # type: ignore[arg-type]
    "fail-wordless": lambda: Fail(Wordless()),  # type: ignore[arg-type]
}
"""Name → what ends the job at once, with a reason that is no text."""


def throw(how: str) -> NoReturn:
    """Raises it."""
    error = (RAISED | FINAL)[how]()
    raise error


class Lookup(dict[str, int]):
    """A mapping that cannot be gone through."""

    def items(self) -> Any:
        raise KeyError("late")

    def __iter__(self) -> Iterator[str]:
        raise KeyError("late")


class Lazy(BaseModel):
    """A model with a field that cannot be computed."""

    n: int = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        raise KeyError("lookup")


class Odd(int):
    """A number that cannot be looked at."""

    def bit_length(self) -> int:
        raise SystemExit(1)


def _late(error: BaseException) -> Iterator[int]:
    yield 1
    raise error


RETURNED: dict[str, Callable[[], object]] = {
    "mapping": lambda: Lookup(a=1),
    "computed": Lazy,
    "generator": lambda: _late(KeyError("late")),
    "leaving-generator": lambda: _late(SystemExit(1)),
    "wordless-generator": lambda: _late(Wordless()),
    "number": lambda: [Odd(7)],
}
"""Name → what makes a result whose own methods raise. Each is a result that cannot be stored."""


class Checked(BaseModel):
    """A payload whose validator raises what `how` says: pydantic takes ValueError for a refusal, and nothing else."""

    how: str

    @field_validator("how")
    @classmethod
    def look_up(cls, how: str) -> str:
        if how == "refuse":
            raise ValueError("refused")
        if how == "die":
            os._exit(4)
        throw(how)


@task("nasty.raise")
async def raise_(how: str) -> None:
    """Raises in a coroutine."""
    throw(how)


@task("nasty.raise-in-thread")
def raise_in_thread(how: str) -> None:
    """Raises in a thread."""
    throw(how)


@task("nasty.raise-in-process", executor="process")
def raise_in_process(how: str) -> None:
    """Raises in a child process."""
    throw(how)


@task("nasty.return")
async def return_(how: str) -> Any:
    """Returns it from a coroutine."""
    return RETURNED[how]()


@task("nasty.return-in-thread")
def return_in_thread(how: str) -> Any:
    """Returns it from a thread."""
    return RETURNED[how]()


@task("nasty.return-in-process", executor="process")
def return_in_process(how: str) -> Any:
    """Returns it from a child process."""
    return RETURNED[how]()


@task("nasty.check")
async def check(payload: Checked) -> None:
    """Its validator raises before a coroutine."""


@task("nasty.check-in-thread")
def check_in_thread(payload: Checked) -> None:
    """Its validator raises before a thread."""


@task("nasty.check-in-process", executor="process")
def check_in_process(payload: Checked) -> None:
    """Its validator raises before a child process."""


def _say(ctx: Context | SyncContext) -> None:
    loop: list[Any] = []
    loop.append(loop)
    ctx.progress("half", float("nan"), Wordless())  # type: ignore[arg-type]
    ctx.progress(10**5_000, 10**5_000)
    ctx.log.info("odd", self=1, method_name=2, event=3, loop=loop, error=Wordless(), huge=10**5_000, keys={(): 1})
    ctx.log.warning(Wordless())  # type: ignore[arg-type]
    ctx.progress(1, 2, "said")


@task("nasty.say")
async def say(ctx: Context) -> str:
    """Says of its progress, and to its log, what cannot be said."""
    _say(ctx)
    return "said"


@task("nasty.say-in-thread")
def say_in_thread(ctx: SyncContext) -> str:
    """The same in a thread."""
    _say(ctx)
    return "said"


@task("nasty.say-in-process", executor="process")
def say_in_process(ctx: SyncContext) -> str:
    """The same in a child process."""
    _say(ctx)
    return "said"


@task("nasty.exit-beside")
async def exit_beside() -> None:
    """Leaves by a coroutine that it has started beside its own: asyncio hands that error to nobody but the process."""

    async def leave() -> None:
        sys.exit(3)

    await asyncio.gather(leave())


def _go_on(job: str, attempt: int, told: int) -> None:
    ledger.write(What.TICK, job, attempt)
    os.write(told, b"x")
    time.sleep(600)


def _fork_unseen() -> int:
    """A fork of which the interpreter knows nothing, as a library in C makes it."""
    return int(ctypes.PyDLL(None).fork())


@task("nasty.fork", executor="process")
def fork(ctx: SyncContext, how: str, then: str = "wait") -> str:
    """Starts a process of its own, which would go on for long, and then waits for it, dies or returns.

    `how` is `fork`, `multiprocessing`, `apart` (one that leaves the process group and keeps what is open) or
    `come-back`: a fork that returns from the task's code beside its parent.
    """
    ledger.write(What.START, ctx.job_id, ctx.attempt)
    hears, told = os.pipe()
    if how == "multiprocessing":
        beside = multiprocessing.get_context("fork").Process(target=_go_on, args=(ctx.job_id, ctx.attempt, told))
        beside.start()
    elif (_fork_unseen() if how == "apart" else os.fork()) == 0:
        if how == "come-back":
            ctx.progress(1, 1, "from beside")
            return "from beside"
        if how == "apart":
            os.setsid()
        _go_on(ctx.job_id, ctx.attempt, told)
        os._exit(0)
    if how != "come-back":
        os.read(hears, 1)  # it runs
    match then:
        case "wait":
            time.sleep(600)
        case "die":
            os._exit(5)
    return "done"
