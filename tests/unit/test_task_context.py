"""Contexts, the facts they carry, and the signals of task code."""

import json
import pickle
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from errander import Cancel, Cancelled, Context, Fail, JobInfo, Retry, Snooze, SyncContext


class Port:
    """Keeps what it is told; `cancel_after` looks it says that cancel was asked."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.said: list[Any] = []
        self.looks = 0
        self.cancel_after = cancel_after

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        self.said.append((done, total, message))

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        self.said.append((level, message, dict(fields)))

    def cancelled(self) -> bool:
        self.looks += 1
        return self.cancel_after is not None and self.looks > self.cancel_after


INFO = JobInfo(
    job_id="j1",
    task="t",
    attempt=3,
    failures=1,
    tags=("a",),
    metadata={"k": [1]},
    run_at=datetime(2030, 1, 1, tzinfo=UTC),
    created_at=datetime(2029, 1, 1, tzinfo=UTC),
)


def test_the_idempotency_key_is_never_missing() -> None:
    assert INFO.idempotency_key == "j1"
    assert JobInfo(job_id="j1", task="t", idempotency_key="k").idempotency_key == "k"


def test_the_facts_travel_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(INFO)) == INFO
    assert JobInfo.from_dict(json.loads(json.dumps(INFO.to_dict()))) == INFO


def test_a_context_shows_the_facts_and_passes_on_what_it_is_told() -> None:
    port = Port()
    ctx = SyncContext(INFO, port)
    shown = (ctx.job_id, ctx.task, ctx.attempt, ctx.failures, ctx.tags, ctx.priority, ctx.idempotency_key)
    assert shown == ("j1", "t", 3, 1, ("a",), "default", "j1")
    ctx.progress(1)
    ctx.progress(2, 4, "half")
    ctx.log.warning("odd", level="x", message="y")
    assert port.said == [(1, None, None), (2, 4, "half"), ("warning", "odd", {"level": "x", "message": "y"})]


def test_check_raises_once_cancel_was_asked() -> None:
    ctx = SyncContext(INFO, Port(cancel_after=1))
    ctx.check()
    with pytest.raises(Cancelled):
        ctx.check()
    assert ctx.cancelled


def test_except_exception_does_not_swallow_a_cancel() -> None:
    ctx = SyncContext(INFO, Port(cancel_after=0))
    with pytest.raises(Cancelled):
        try:
            ctx.check()
        except Exception:
            pytest.fail("swallowed")


def test_a_sleeping_thread_wakes_for_a_cancel() -> None:
    woke = threading.Event()

    def sleep() -> None:
        with pytest.raises(Cancelled):
            SyncContext(INFO, Port(cancel_after=2)).sleep(3600)
        woke.set()

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    assert woke.wait(10)
    thread.join()


async def test_sleep_on_the_loop_waits_and_looks() -> None:
    port = Port(cancel_after=1)
    with pytest.raises(Cancelled):
        await Context(INFO, port).sleep(timedelta(milliseconds=1))
    assert port.looks == 2
    with pytest.raises(ValueError, match="negative"):
        await Context(INFO, port).sleep(-1)


def test_signals_carry_seconds_and_reason_and_pickle() -> None:
    retry = Retry("busy", defer=timedelta(minutes=1))
    assert (retry.reason, retry.defer, str(retry)) == ("busy", 60.0, "busy")
    assert Retry().defer is None
    assert Snooze(5, "later").defer == 5.0
    for signal in (retry, Retry(), Snooze(5, "later"), Fail("no"), Cancel("unwanted")):
        copy = pickle.loads(pickle.dumps(signal))
        assert type(copy) is type(signal)
        assert vars(copy) == vars(signal)


@pytest.mark.parametrize("defer", [-1, float("nan"), "5", True, timedelta(days=400)])
def test_a_wait_that_makes_no_sense_is_refused(defer: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Snooze(defer)
