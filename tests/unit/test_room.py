"""Slots, and who stands in line for one."""

from dataclasses import dataclass
from typing import cast

import pytest

from workers.attempt import Attempt
from workers.flush import Flush
from workers.room import Room


class Claimed:
    """Stands where an attempt does."""

    def __init__(self) -> None:
        self.started = False

    def start(self) -> None:
        self.started = True


def attempts(*claimed: Claimed) -> list[Attempt]:
    """As the room knows them."""
    return cast("list[Attempt]", list(claimed))


@dataclass
class Written:
    """Stands where the flush does."""

    unconfirmed: int
    failing: bool = False


def flush(unconfirmed: int = 0) -> Flush:
    """As the room knows it."""
    return cast("Flush", Written(unconfirmed))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the room; a test sets its only item."""
    clock = [1000.0]
    monkeypatch.setattr("workers.room.time.monotonic", lambda: clock[0])
    return clock


def run_through(room: Room, now: list[float], count: int, seconds: float) -> None:
    """Ends `count` jobs within `seconds`, one after another."""
    for _ in range(count):
        one = Claimed()
        room.admit(attempts(one))
        assert one.started
        room.ended(*attempts(one))
        now[0] += seconds / count


def test_as_many_start_as_there_are_slots_and_the_rest_in_its_turn(now: list[float]) -> None:
    room = Room(2)
    jobs = [Claimed() for _ in range(5)]
    room.admit(attempts(*jobs))
    assert [job.started for job in jobs] == [True, True, False, False, False]
    room.ended(*attempts(jobs[1]))
    assert [job.started for job in jobs] == [True, True, True, False, False]
    late = Claimed()
    room.admit(attempts(late))
    for job in (jobs[0], jobs[2], jobs[3]):
        room.ended(*attempts(job))
    assert late.started
    assert len(room.running) == 2
    assert not room.is_empty


def test_nothing_is_claimed_ahead_of_jobs_that_take_long(now: list[float]) -> None:
    room = Room(100)
    assert room.free(flush()) == 100
    run_through(room, now, 700, 1.0)
    assert room.free(flush()) == 100
    room.admit(attempts(*(Claimed() for _ in range(100))))
    assert room.free(flush()) == 0


def test_short_jobs_are_claimed_ahead_for_as_long_as_they_are_short(now: list[float]) -> None:
    room = Room(100)
    run_through(room, now, 1_000, 0.1)
    assert room.free(flush()) == 100 + 200
    run_through(room, now, 100_000, 1.0)
    assert room.free(flush()) == 100 + 400
    now[0] += 5.0
    assert room.free(flush()) == 100


def test_a_line_that_is_half_full_is_not_topped_up(now: list[float]) -> None:
    room = Room(10)
    run_through(room, now, 1_000, 0.1)
    assert room.free(flush()) == 210
    room.admit(attempts(*(Claimed() for _ in range(210))))
    assert room.free(flush()) == 0
    room.leave_line()
    room.admit(attempts(*(Claimed() for _ in range(101))))
    assert room.free(flush()) == 0


def test_nothing_is_claimed_while_outcomes_are_not_confirmed(now: list[float]) -> None:
    room = Room(10)
    assert room.free(flush(unconfirmed=10)) == 0
    assert room.free(flush(unconfirmed=9)) == 10


def test_who_has_stood_in_line_for_too_long_leaves_it(now: list[float]) -> None:
    room = Room(1)
    first, second, third = Claimed(), Claimed(), Claimed()
    room.admit(attempts(first, second))
    now[0] += 0.2
    room.admit(attempts(third))
    assert room.leave_line(patient=True) == []
    now[0] += 0.1
    assert room.leave_line(patient=True) == attempts(second)
    assert room.leave_line() == attempts(third)
    room.ended(*attempts(first))
    assert room.is_empty
