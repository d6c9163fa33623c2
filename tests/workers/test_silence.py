"""Silence is observed, by one process, on its own clock."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from db.workers import Beat
from workers.loops.silence import Silence

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Watch:
    """A clock that a test moves, and one worker's beats."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.worker = uuid4()
        self.silence = Silence(lease=30, heartbeat=5, clock=lambda: self.now)

    def look(self, after: float, *, beat: float, age: float) -> bool:
        """Whether the worker is silent, seen `after` seconds after the last look with a beat of `age`."""
        self.now += after
        return bool(self.silence.look([Beat(self.worker, T0 + timedelta(seconds=beat), age)]))


def test_a_worker_is_silent_after_a_lease_by_the_databases_clock_and_three_beats_of_watching() -> None:
    watch = Watch()
    assert not watch.look(0, beat=0, age=25)
    assert not watch.look(5, beat=0, age=30.0)
    assert not watch.look(5, beat=0, age=35)
    assert watch.look(5, beat=0, age=40)


def test_a_clock_that_stepped_back_hides_nobody_for_longer_than_a_lease() -> None:
    watch = Watch()
    assert [watch.look(5, beat=0, age=-600) for _ in range(7)] == [False] * 7
    assert watch.look(5, beat=0, age=-600)


def test_a_clock_that_stepped_ahead_kills_nobody_who_beats() -> None:
    watch = Watch()
    for n in range(20):
        assert not watch.look(5, beat=5 * n, age=3600)


def test_after_a_pause_of_the_watcher_everybody_has_time_to_beat_first() -> None:
    watch = Watch()
    assert not watch.look(0, beat=0, age=0)
    assert not watch.look(45, beat=0, age=45)
    assert not watch.look(5, beat=0, age=50)
    assert not watch.look(5, beat=60, age=0)
