"""The registry, and loading the modules that fill it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from errander import DuplicateTask, Registry, TaskImportError, UnknownTask, load_tasks, registry, task


def test_a_name_belongs_to_one_function() -> None:
    own = Registry()

    @task("taken", registry=own)
    def first() -> None: ...

    with pytest.raises(DuplicateTask) as caught:

        @task("taken", registry=own)
        def second() -> None: ...

    assert "first" in str(caught.value)
    assert "second" in str(caught.value)
    assert own.get("taken") is first


def test_the_same_function_again_replaces_its_task() -> None:
    own = Registry()

    def define() -> object:
        @task("again", registry=own)
        def again() -> None: ...

        return again

    define()
    newest = define()
    assert own["again"] is newest
    assert len(own) == 1


def test_a_registry_reads_like_a_dictionary() -> None:
    own = Registry()

    @task("b.two", registry=own)
    def two() -> None: ...

    @task("b.one", registry=own)
    def one() -> None: ...

    assert own.names() == ["b.one", "b.two"]
    assert [found.name for found in own] == ["b.two", "b.one"]
    assert "b.one" in own
    assert own.get("nobody") is None
    with pytest.raises(UnknownTask, match=r"did you mean b\.one"):
        own["b.onee"]
    own.remove("b.one")
    own.clear()
    assert len(own) == 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules), set(registry.names())
    yield tmp_path
    for name in set(sys.modules) - known[0]:
        del sys.modules[name]
    for name in set(registry.names()) - known[1]:
        registry.remove(name)


def test_importing_a_module_registers_its_tasks(folder: Path) -> None:
    (folder / "loaded_a.py").write_text("from errander import task\n@task('loaded.a')\ndef a() -> None: ...\n")
    load_tasks([" loaded_a "])
    assert registry["loaded.a"].fn.__module__ == "loaded_a"


def test_an_object_of_a_module_may_be_named(folder: Path) -> None:
    (folder / "loaded_b.py").write_text(
        "from errander import Registry, task\nown = Registry()\n"
        "@task('loaded.b', registry=own)\ndef b() -> None: ...\n"
        "several = [b]\nnumber = 3\n"
    )
    for name in ("own", "b", "several"):
        into = Registry()
        load_tasks([f"loaded_b:{name}"], into)
        assert into.names() == ["loaded.b"]
    for name, said in (("number", "it is int"), ("gone", "has no 'gone'")):
        with pytest.raises(TaskImportError, match=said):
            load_tasks([f"loaded_b:{name}"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module_here", "PYTHONPATH"),
        ("json.no_such_part", "PYTHONPATH"),
        ("loaded_c.py", "without .py"),
        ("folder/loaded_c", "without /"),
        ("", "import statement"),
        ("loaded_c", "imports 'not_installed_anywhere'"),
        ("loaded_d", "raised ZeroDivisionError"),
    ],
)
def test_a_path_that_cannot_be_loaded_says_what_to_do(folder: Path, path: str, said: str) -> None:
    (folder / "loaded_c.py").write_text("import not_installed_anywhere\n")
    (folder / "loaded_d.py").write_text("1 / 0\n")
    with pytest.raises(TaskImportError) as caught:
        load_tasks([path])
    assert said in str(caught.value)
    assert repr(path) in str(caught.value)
    assert caught.value.import_path == path
