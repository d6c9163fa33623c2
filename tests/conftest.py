"""What every test has: a clean environment, and nothing left running behind it."""

import asyncio
import inspect
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import hypothesis
import psutil
import pytest

from tests.fixtures.waiting import eventually

pytest_plugins = ["tests.fixtures.servers"]

# A shell starts what runs in the background with SIGINT ignored, and whoever is started inherits that; the programs
# under test are to be found as a terminal starts them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else runs on the machine than about the code.
hypothesis.settings.register_profile("errander", deadline=None)
hypothesis.settings.load_profile("errander")

# Every process started by the tests inherits it, whoever its parent has become.
_SESSION_MARK = "PYTEST_ERRANDER_SESSION"
_OUTER_NAMES = ("DATABASE_URL", "REDIS_URL", "ERRANDER_")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No test sees an address or a setting of the machine it runs on."""
    outer = {name: value for name, value in os.environ.items() if name.startswith(_OUTER_NAMES)}
    for name in outer:
        del os.environ[name]
    yield
    os.environ.update(outer)


@pytest.fixture(scope="session", autouse=True)
def no_process_left(clean_environment: None) -> Iterator[None]:
    """Fails the run when a process started by it, however indirectly, is alive at its end."""
    mark = uuid.uuid4().hex
    os.environ[_SESSION_MARK] = mark
    yield
    del os.environ[_SESSION_MARK]
    left = _marked(mark)
    _, alive = psutil.wait_procs(left, timeout=3)
    if alive:
        lines = [f"{process.pid}: {' '.join(_command(process))}" for process in alive]
        for process in alive:
            process.kill()
        pytest.fail("processes were left running:\n" + "\n".join(lines), pytrace=False)


@pytest.fixture(autouse=True)
def no_asyncio_task_left(request: pytest.FixtureRequest) -> None:
    """Fails an async test that leaves a task pending in its loop."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_pending_task_check")


@pytest.fixture
async def _pending_task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield

    def left() -> list[asyncio.Task[object]]:
        current = asyncio.current_task()
        return [task for task in asyncio.all_tasks() - before if task is not current and not task.done()]

    # A task that was cancelled in the last line of a test may need a few turns to end.
    await eventually(lambda: not left(), timeout=1, message=lambda: f"tasks were left pending: {left()}")


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get(_SESSION_MARK) == mark
            # multiprocessing's own caretakers end with this interpreter
            if ours and not any("resource_tracker" in word or "forkserver" in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["?"]
