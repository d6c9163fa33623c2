"""`errander dev`, one for all acceptance tests: a real process, its servers, its API, its worker."""

from collections.abc import Iterator

import pytest

from service.supervise import free_port
from tests.fixtures.dev import DevProcess
from tests.fixtures.servers import open_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is an acceptance test."""
    for item in items:
        if "acceptance" in item.path.parts:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture(scope="session")
def dev_server() -> Iterator[DevProcess]:
    """A ready `errander dev`: `url`, `data` (its data folder), `folder` (its current one), `process`, `env_file()`.

    At the end it must stop cleanly on SIGTERM.
    """
    with open_folder() as folder, DevProcess(folder, "--port", str(free_port())) as server:
        yield server.ready()
        code = server.stop()
        assert code == 0, server.output
        assert server.parts() == {}
