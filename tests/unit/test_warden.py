"""What a worker's children have started ends with the worker."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.fixtures.waiting import eventually_sync
from workers.warden import Warden

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
_ENDED_BY = -9


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(SLEEPER, start_new_session=True) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def warden() -> Iterator[Warden]:
    made = Warden()
    yield made
    made.close()


def test_groups_that_are_left_end_with_the_worker(warden: Warden, sleepers: list[subprocess.Popen[bytes]]) -> None:
    left, forgotten = sleepers
    warden.guard(left.pid)
    warden.guard(forgotten.pid)
    warden.forget(forgotten.pid)
    assert left.poll() is None
    assert warden._process is not None
    assert warden._process.stdin is not None
    warden._process.stdin.close()  # as the kernel does when the worker is gone
    assert left.wait(10) == _ENDED_BY
    warden._process.wait(10)
    assert forgotten.poll() is None


def test_a_warden_that_was_killed_is_replaced_by_one_that_knows_all(
    warden: Warden, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    first, second = sleepers
    warden.guard(first.pid)
    assert warden._process is not None
    warden._process.kill()
    eventually_sync(lambda: warden._process is not None and warden._process.poll() is not None)
    warden.forget(4_000_000)  # nobody reads it, and nobody minds
    warden.guard(second.pid)
    warden.close()
    assert (first.wait(10), second.wait(10)) == (_ENDED_BY, _ENDED_BY)


def test_a_warden_that_was_killed_is_replaced_when_another_group_ends(
    warden: Warden, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    left, forgotten = sleepers
    warden.guard(left.pid)
    warden.guard(forgotten.pid)
    assert warden._process is not None
    warden._process.kill()
    warden._process.wait()
    warden.forget(forgotten.pid)
    warden.close()
    assert left.wait(10) == _ENDED_BY
    assert forgotten.poll() is None


def test_a_group_can_be_forgotten_where_no_process_can_be_started(
    warden: Warden, sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sleepers
    warden.guard(first.pid)
    warden.guard(second.pid)
    assert warden._process is not None
    warden._process.kill()
    warden._process.wait()

    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("[Errno 11] Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refused)
        warden.forget(second.pid)
    warden.forget(second.pid)
    warden.close()
    assert first.wait(10) == _ENDED_BY


def test_a_warden_that_was_closed_is_not_started_again_to_forget(
    warden: Warden, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    for sleeper in sleepers:
        warden.guard(sleeper.pid)
    warden.close()
    warden.forget(sleepers[0].pid)
    assert warden._process is None


def test_a_warden_without_groups_is_no_process(warden: Warden) -> None:
    warden.forget(4_000_000)
    warden.close()
    assert warden._process is None
