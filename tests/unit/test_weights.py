"""Sharing slots between priorities."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.weights import WEIGHTS, Shares

MANY = dict.fromkeys(WEIGHTS, 1_000)
QUEUES = st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.integers(0, 50))


def test_with_one_slot_the_first_fifty_starts_are_thirty_fifteen_and_five() -> None:
    shares = Shares()
    starts = [next(iter(shares.allot(1, MANY))) for _ in range(50)]
    assert Counter(starts) == {"high": 30, "default": 15, "low": 5}
    gaps = [n for n, name in enumerate(starts) if name == "low"]
    assert max(later - earlier for earlier, later in itertools.pairwise(gaps)) == 10, "evenly spread"


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 10, 100])
def test_whatever_a_take_fills_the_shares_come_out_the_same(slots: int) -> None:
    shares, total = Shares(), Counter[str]()
    for _ in range(700 // slots + 1):
        total.update(shares.allot(slots, MANY))
    started = sum(total.values())
    assert all(abs(total[name] - started * weight / 10) <= 2 for name, weight in WEIGHTS.items())


def test_what_one_queue_leaves_unused_goes_to_the_others_in_the_same_round() -> None:
    assert Shares().allot(10, {"high": 1, "default": 2, "low": 50}) == {"high": 1, "default": 2, "low": 7}
    assert Shares().allot(10, {"low": 50}) == {"low": 10}
    assert Shares().allot(10, {"high": 3}) == {"high": 3}


def test_a_queue_that_was_empty_for_long_has_not_saved_up() -> None:
    shares = Shares()
    for _ in range(1_000):
        shares.allot(10, {"high": 100})
    first = Counter[str]()
    for _ in range(10):
        first.update(shares.allot(1, MANY))
    assert first == {"high": 6, "default": 3, "low": 1}


@given(st.lists(st.tuples(st.integers(0, 30), QUEUES), max_size=40))
def test_shares_never_exceed_what_is_due_nor_leave_a_slot_that_something_could_fill(
    takes: list[tuple[int, dict[str, int]]],
) -> None:
    shares = Shares()
    for slots, due in takes:
        allotted = shares.allot(slots, due)
        assert all(0 < count <= due[name] for name, count in allotted.items())
        assert sum(allotted.values()) == min(slots, sum(due.values()))


@given(st.lists(QUEUES, min_size=60, max_size=60))
def test_low_never_starves(rounds: list[dict[str, int]]) -> None:
    shares, waited = Shares(), 0
    for due in rounds:
        served = shares.allot(1, due | {"low": 1})
        waited = 0 if "low" in served else waited + 1
        assert waited <= 30
