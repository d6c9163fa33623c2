"""`@task`: a function becomes a task that a worker can run, and stays a function that anybody can call."""

import functools
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, overload

from pydantic import ValidationError

from ._backoff import Backoff, Exponential, Fixed, Linear
from ._context import Context, SyncContext
from ._durations import Duration, to_seconds
from ._errors import FieldError, PayloadInvalid, ResultInvalid, TaskDefinitionError, TaskImportError
from ._json import dump_json
from ._registry import Registry, registry
from ._schema import Signature, caller_names, field_errors, read_signature

P = ParamSpec("P")
R = TypeVar("R")
Priority = Literal["high", "default", "low"]
Executor = Literal["loop", "thread", "process"]

PRIORITIES: Final = ("high", "default", "low")
TASK_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
POOL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_TRIES: Final = 1000
"""Upper bound of `max_attempts` and `max_crashes`: beyond it a job is a schedule."""


class Task(Generic[P, R]):
    """A function with a name under which jobs can be submitted.

    Calling it calls the function. `executor` says how a worker runs it: `loop` (an `async def`), `thread` (a `def`)
    or `process`. `payload_schema` and `result_schema` are JSON Schema, the latter None where nothing is declared.
    """

    __name__: str

    def __init__(
        self, name: str, fn: FunctionType, executor: Executor, declared: Mapping[str, Any], signature: Signature
    ) -> None:
        self.name: Final = name
        self.fn: Final = fn
        self.executor: Final[Executor] = executor
        self._declared = dict(declared)
        self._signature = signature
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now, without a job."""
        return cast("R", self.fn(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<Task {self.name} ({self.fn.__module__}:{self.fn.__qualname__}, {self.executor})>"

    def __reduce__(self) -> tuple[Any, ...]:
        return import_task, (self.import_path,)

    @property
    def wants_context(self) -> bool:
        """Whether a parameter is annotated `Context` or `SyncContext`."""
        return self._signature.context is not None

    @property
    def context_type(self) -> type[Context | SyncContext] | None:
        """The context class the function takes, or None."""
        if not self.wants_context:
            return None
        return Context if inspect.iscoroutinefunction(self.fn) else SyncContext

    @property
    def payload_schema(self) -> dict[str, Any]:
        """JSON Schema of the payload, an object."""
        return self._signature.payload_schema

    @property
    def result_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the result, or None where the function declares none."""
        return self._signature.result_schema

    @property
    def import_path(self) -> str:
        """`module:qualname`, under which another process finds this task (`import_task`).

        Raises `TaskDefinitionError` for a task that cannot be found so.
        """
        if self.fn.__module__ == "__main__":
            raise TaskDefinitionError(self.name, "is defined in the script itself; move it into a module")
        _refuse_local(self.name, self.fn)
        return f"{self.fn.__module__}:{self.fn.__qualname__}"

    @functools.cached_property
    def schema_hash(self) -> str:
        """SHA-256, in hex, of the canonical JSON of both schemas and the declared defaults."""
        content = {"payload": self.payload_schema, "result": self.result_schema, "defaults": self.defaults()}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def defaults(self) -> dict[str, Any]:
        """What the declaration says about its jobs, in wire form; only what was given.

        Keys: `priority`, `pool`, `max_attempts`, `max_crashes`, `timeout` (seconds), `backoff`.
        """
        backoff = self._declared.get("backoff")
        return self._declared | ({"backoff": backoff.to_dict()} if backoff is not None else {})

    def validate(self, payload: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
        """The keyword arguments that a payload (a mapping of JSON values, or JSON text) means.

        Raises `PayloadInvalid` with a JSON pointer for each refused value. What a validator of the task's own raises
        otherwise (anything but `ValueError` and `AssertionError`) passes through: it says nothing about the payload.
        """
        try:
            values = self._signature.validate(payload)
        except ValidationError as error:
            parsed = _parsed(payload)
            raise PayloadInvalid(self.name, field_errors(error, parsed)) from error
        except ValueError as error:  # a mapping with what JSON cannot say
            raise PayloadInvalid(self.name, [FieldError("", str(error), "value_error")]) from error
        context = self._signature.context
        if context is not None and context in values and not self._signature.context_positional:
            # Only a signature with `**kwargs` gets here; any other has refused the field already.
            message = "is the task's context and cannot be given"
            raise PayloadInvalid(self.name, [FieldError(f"/{context}", message, "extra_forbidden")])
        return values

    def bind(
        self, payload: Mapping[str, Any] | str | bytes, context: Context | SyncContext | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`(args, kwargs)` to call `fn` with, the context in its place. Raises `PayloadInvalid`."""
        kwargs = self.validate(payload)
        if self._signature.context is None:
            return (), kwargs
        if self._signature.context_positional:
            return (context,), kwargs
        kwargs[self._signature.context] = context
        return (), kwargs

    def dump_result(self, value: Any) -> bytes:
        """What the function returned, as JSON text. Raises `ResultInvalid` for what JSON cannot say."""
        try:
            return dump_json(value)
        except ValueError as error:
            raise ResultInvalid(self.name, str(error)) from error


class _Decorator:
    """`@task(...)` with its options, waiting for the function; typed so that the signature survives."""

    def __init__(self, name: str | None, executor: str | None, options: dict[str, Any], target: Registry) -> None:
        self._name = name
        self._executor = executor
        self._options = options
        self._target = target

    def __call__(self, fn: Callable[P, R]) -> Task[P, R]:
        return _define(fn, self._name, self._executor, self._options, self._target, local_names=caller_names(2))


@overload
def task(name: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    name: str | None = None,
    /,
    *,
    priority: Priority | None = None,
    pool: str | None = None,
    max_attempts: int | None = None,
    max_crashes: int | None = None,
    timeout: Duration | None = None,
    backoff: Backoff | None = None,
    executor: Executor | None = None,
    registry: Registry = registry,
) -> _Decorator: ...


def task(
    name: Callable[P, R] | str | None = None,
    /,
    *,
    priority: Priority | None = None,
    pool: str | None = None,
    max_attempts: int | None = None,
    max_crashes: int | None = None,
    timeout: Duration | None = None,
    backoff: Backoff | None = None,
    executor: Executor | None = None,
    registry: Registry = registry,
) -> Task[P, R] | _Decorator:
    """Make a function a task: `@task("report.generate", max_attempts=5, timeout=600)`, or plain `@task`.

    Without a name the function's own is taken. The options are defaults for the task's jobs; a request may give
    others, and what neither gives the server decides. `timeout` is seconds or a `timedelta`. An `async def` runs on
    the worker's event loop, a `def` in a thread, and with `executor="process"` a `def` in a child process that can be
    ended at any moment. Raises `TaskDefinitionError`, `DuplicateTask`.
    """
    if callable(name):
        return _define(name, None, None, {}, registry, local_names=caller_names(2))
    options = {
        "priority": priority,
        "pool": pool,
        "max_attempts": max_attempts,
        "max_crashes": max_crashes,
        "timeout": timeout,
        "backoff": backoff,
    }
    return _Decorator(name, executor, options, registry)


def import_task(path: str) -> Task[..., Any]:
    """The task at `module:qualname`, importing the module. Raises `TaskImportError`."""
    module, _, qualname = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskImportError(path, str(error)) from error
    if not isinstance(found, Task):
        raise TaskImportError(path, f"it is {type(found).__name__}, not a task")
    return found


def _define(
    fn: Callable[P, R],
    name: str | None,
    executor: str | None,
    options: Mapping[str, Any],
    target: Registry,
    *,
    local_names: Mapping[str, Any],
) -> Task[P, R]:
    known_as = name if name is not None else getattr(fn, "__name__", repr(fn))
    if not isinstance(fn, FunctionType):
        raise TaskDefinitionError(str(known_as), f"put @task on a function, not on {type(fn).__name__}")
    if not isinstance(known_as, str) or not TASK_NAME.fullmatch(known_as):
        raise TaskDefinitionError(str(known_as), "a name is 1 to 200 of A-Z a-z 0-9 _ . -")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(known_as, "is a generator; a task returns its result")
    declared = _check_options(known_as, options)
    runs_on = _check_executor(known_as, fn, executor)
    made: Task[P, R] = Task(known_as, fn, runs_on, declared, read_signature(known_as, fn, local_names))
    target.add(made)
    return made


def _check_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, checked and in their normal form."""
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("priority", "default") not in PRIORITIES:
        raise TaskDefinitionError(task, f"priority is high, default or low, not {given['priority']!r}")
    pool = given.get("pool", "default")
    if not isinstance(pool, str) or not POOL_NAME.fullmatch(pool):
        raise TaskDefinitionError(task, f"a pool is 1 to 63 of a-z 0-9 _ -, not {pool!r}")
    for name in ("max_attempts", "max_crashes"):
        value = given.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TRIES:
            raise TaskDefinitionError(task, f"{name} is a whole number from 1 to {MOST_TRIES}, not {value!r}")
    if "timeout" in given:
        try:
            given["timeout"] = to_seconds(given["timeout"], "timeout")
        except (TypeError, ValueError) as error:
            raise TaskDefinitionError(task, str(error)) from None
        if given["timeout"] == 0:
            raise TaskDefinitionError(task, "timeout must be above 0")
    if "backoff" in given and not isinstance(given["backoff"], Exponential | Linear | Fixed):
        raise TaskDefinitionError(task, "backoff is Exponential(…), Linear(…) or Fixed(…)")
    return given


def _check_executor(task: str, fn: FunctionType, executor: str | None) -> Executor:
    natural: Executor = "loop" if inspect.iscoroutinefunction(fn) else "thread"
    if executor is None or executor == natural:
        return natural
    if executor != "process":
        if executor in ("loop", "thread"):
            form = "`async def` runs on the loop" if natural == "loop" else "`def` runs in a thread"
            raise TaskDefinitionError(task, f"{form}; executor={executor!r} does not fit")
        raise TaskDefinitionError(task, f"executor is 'process' or left out, not {executor!r}")
    if natural == "loop":
        raise TaskDefinitionError(task, "executor='process' takes a plain `def`, not an `async def`")
    _refuse_local(task, fn)
    return "process"


def _refuse_local(task: str, fn: FunctionType) -> None:
    if "<" in fn.__qualname__:  # <locals> or <lambda>
        message = f"{fn.__qualname__} cannot be imported by another process; define it at the top of a module"
        raise TaskDefinitionError(task, message)


def _parsed(payload: Mapping[str, Any] | str | bytes) -> Any:
    if not isinstance(payload, str | bytes):
        return payload
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
