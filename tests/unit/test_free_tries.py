"""A job that its worker cannot start goes back at no cost, and each time for longer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import pytest

from db.attempts import Claimed
from errander import Registry, task
from workers.attempt import Attempt
from workers.children import Child, ChildNotStarted, Children
from workers.outcomes import GivenBack, Outcome
from workers.progress import ProgressBoard

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = Registry()


@task("apart", executor="process", registry=KNOWN)
def apart() -> None:
    """Runs in a child process."""


class Childless:
    """Stands where children are made, and makes none."""

    async def acquire(self, *, isolated: bool) -> Child:
        raise ChildNotStarted("a child process did not start (status 1)")


class Bare:
    """A process that knows one task, and has no child to run it in."""

    def __init__(self) -> None:
        self.registry = KNOWN
        self.threads = cast("ThreadPoolExecutor", None)
        self.thread_slots = asyncio.Semaphore(1)
        self.children = cast("Children", Childless())
        self.progress = ProgressBoard()
        self.outcome: Outcome | None = None

    def may_start(self) -> bool:
        return True

    async def another_version_fits(self, task: str, schema_hash: str, payload: str) -> bool:
        return False

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> None:
        self.outcome = outcome


@pytest.mark.parametrize(
    ("number", "failures", "delay"), [(1, 0, 5.0), (3, 0, 5.0), (4, 0, 8.0), (6, 2, 8.0), (7, 0, 60.0), (500, 0, 60.0)]
)
async def test_a_job_whose_child_is_not_there_goes_back_for_longer_each_time(
    number: int, failures: int, delay: float
) -> None:
    host = Bare()
    where = ("default", "default", "default")
    job = Claimed(uuid4(), number, "apart", "{}", *where, failures, 0, 9, 3, 60.0, "{}", None, "[]", "{}", NOW, NOW)
    await Attempt(job, host).run()
    assert host.outcome == GivenBack("a child process did not start (status 1)", begun=False, delay=delay)
