"""`@task`: what a declaration means, and which declarations are refused."""

import asyncio
import pickle
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field

from errander import (
    Context,
    Exponential,
    Fixed,
    Registry,
    SyncContext,
    TaskDefinitionError,
    TaskImportError,
    import_task,
    registry,
    task,
)

OWN = Registry()


@task("unit.process", executor="process", registry=OWN)
def in_a_process(limit: int) -> int:
    return limit * 2


def test_a_task_stays_a_plain_callable() -> None:
    @task("plain.async", registry=OWN)
    async def double(n: int) -> int:
        """Twice."""
        return 2 * n

    assert asyncio.run(double(4)) == 8
    assert in_a_process(3) == 6
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_the_executor_follows_from_the_function() -> None:
    own = Registry()

    @task("a", registry=own)
    async def on_loop() -> None: ...

    @task("b", registry=own)
    def in_thread() -> None: ...

    assert (on_loop.executor, in_thread.executor, in_a_process.executor) == ("loop", "thread", "process")


def test_without_a_name_the_function_gives_it() -> None:
    try:

        @task
        def named_by_function() -> None: ...

        assert named_by_function.name == "named_by_function"
        assert registry.get("named_by_function") is named_by_function
    finally:
        registry.remove("named_by_function")


def test_only_declared_defaults_are_given_and_in_wire_form() -> None:
    @task("d", priority="low", max_attempts=7, timeout=timedelta(minutes=2), backoff=Fixed(3), registry=Registry())
    def declared() -> None: ...

    backoff = {"kind": "fixed", "base": 3.0, "max": 600.0, "jitter": 0.5}
    assert declared.defaults() == {"priority": "low", "max_attempts": 7, "timeout": 120.0, "backoff": backoff}
    assert in_a_process.defaults() == {}


def make(fn: Callable[..., Any], name: str = "bad", **options: Any) -> None:
    task(name, registry=Registry(), **options)(fn)


async def coroutine() -> None: ...


def plain() -> None: ...


def generator() -> Any:
    yield 1


def positional_only(a: int, /) -> None: ...


def many(*rows: int) -> None: ...


def field_default(n: int = Field(3, ge=1)) -> None: ...


def two_contexts(a: SyncContext, b: SyncContext) -> None: ...


def wrong_context(ctx: Context) -> None: ...


async def wrong_async_context(ctx: SyncContext) -> None: ...


def unresolved(n: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def no_json_type(module: ModuleType) -> None: ...


@pytest.mark.parametrize(
    ("fn", "options", "said"),
    [
        (plain, {"name": "has space"}, "a name is 1 to 200"),
        (plain, {"name": ""}, "a name is 1 to 200"),
        (plain, {"name": "x" * 201}, "a name is 1 to 200"),
        (plain, {"priority": "urgent"}, "high, default or low"),
        (plain, {"pool": "GPU"}, "a pool is"),
        (plain, {"timeout": 0}, "above 0"),
        (plain, {"timeout": -1}, "negative"),
        (plain, {"timeout": "60"}, "number of seconds"),
        (plain, {"max_attempts": 0}, "max_attempts"),
        (plain, {"max_attempts": True}, "max_attempts"),
        (plain, {"max_crashes": 1.5}, "max_crashes"),
        (plain, {"backoff": {"kind": "fixed"}}, "Exponential"),
        (plain, {"executor": "gpu"}, "'process' or left out"),
        (plain, {"executor": "loop"}, "runs in a thread"),
        (coroutine, {"executor": "thread"}, "runs on the loop"),
        (coroutine, {"executor": "process"}, "plain `def`"),
        (lambda: None, {"executor": "process"}, "top of a module"),
        (len, {}, "put @task on a function"),
        (generator, {}, "generator"),
        (positional_only, {}, "positional-only"),
        (many, {}, "take a list"),
        (field_default, {}, "Annotated"),
        (two_contexts, {}, "two context"),
        (wrong_context, {}, "SyncContext"),
        (wrong_async_context, {}, "as Context"),
        (unresolved, {}, "NoSuchType"),
        (no_json_type, {}, "no JSON type"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_naming_the_task(
    fn: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TaskDefinitionError, match="task ") as caught:
        make(fn, **options)
    assert said in str(caught.value)


def test_the_schema_hash_changes_with_schema_and_defaults_only() -> None:
    def one(n: int) -> None: ...

    def same(n: int) -> None: ...

    def other(n: Annotated[int, Field(ge=1)]) -> None: ...

    def hashed(fn: Callable[..., None], **options: Any) -> str:
        return task("hashed", registry=Registry(), **options)(fn).schema_hash

    assert hashed(one) == hashed(same)
    assert len({hashed(one), hashed(other), hashed(one, backoff=Exponential())}) == 3
    assert len(hashed(one)) == 64


def test_another_process_finds_a_task_by_its_import_path() -> None:
    @task("local", registry=Registry())
    def local() -> None: ...

    with pytest.raises(TaskDefinitionError, match="top of a module"):
        _ = local.import_path
    assert in_a_process.import_path == f"{__name__}:in_a_process"


def test_a_task_pickles_as_its_import_path(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pickled_tasks.py").write_text(
        "from errander import Registry, task\n"
        "own = Registry()\n"
        "@task('p', executor='process', registry=own)\n"
        "def work(n: int) -> int: return n\n"
        "other = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = import_task("pickled_tasks:work")
    assert pickle.loads(pickle.dumps(found)) is found
    for path in ("pickled_tasks:other", "pickled_tasks:gone", "no_such_module:work"):
        with pytest.raises(TaskImportError, match=path):
            import_task(path)
