"""What `errander` exports, and what importing it costs."""

import subprocess
import sys

import errander
import errander.testing


def test_all_is_sorted_and_every_name_is_there() -> None:
    for module in (errander, errander.testing):
        assert sorted(module.__all__) == list(module.__all__)
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert set(module.__all__) <= set(dir(module))


def test_each_name_has_one_home() -> None:
    listed = [name for names in errander._HOMES.values() for name in names]
    assert sorted(listed) == sorted(errander.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(errander, "nothing_of_this_name")


def test_importing_the_package_is_light_and_writing_tasks_needs_no_http() -> None:
    code = (
        "import sys, errander, errander._cli\n"
        "assert not {'httpx', 'pydantic', 'asyncio'} & set(sys.modules), 'the bare import is heavy'\n"
        "from errander import Context, Retry, task\n"
        "assert 'httpx' not in sys.modules, 'writing tasks loads the HTTP client'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_needs_none_of_the_servers() -> None:
    code = (
        "import sys\n"
        "import errander, errander.testing\n"
        "[getattr(errander, name) for name in errander.__all__]\n"
        "assert not {'service', 'workers', 'db'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
