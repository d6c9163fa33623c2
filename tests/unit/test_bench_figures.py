"""Medians, ratios and limits of a benchmark."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.figures import Limit, Report, Row, Series, paired, percentile


def row(value: list[float], baseline: list[float] | None = None, gate: Limit | None = None) -> Row:
    return Row("k", "title", "jobs/s", Series.of(value), None if baseline is None else Series.of(baseline), "it", gate)


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # Every round of the second half ran on a machine that was half as fast; medians apart from each other would say 2.5.
    slow = row([100, 100, 50, 50, 50], [40, 40, 20, 20, 25])
    assert slow.ratio == 2.5
    assert paired(slow.value, Series.of([100] * 5)).rounds == (1, 1, 0.5, 0.5, 0.5)


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired(Series.of([1, 2]), Series.of([1]))
    with pytest.raises(ValueError, match="at least one round"):
        Series.of([])


@pytest.mark.parametrize(
    ("limit", "holds"),
    [
        (Limit("value", "at least", 10), True),
        (Limit("value", "at least", 10.1), False),
        (Limit("value", "at most", 10), True),
        (Limit("value", "at most", 9.9), False),
        (Limit("ratio", "at least", 2), True),
        (Limit("ratio", "at least", 2.1), False),
    ],
)
def test_a_gate_looks_at_the_median_or_at_the_ratio(limit: Limit, holds: bool) -> None:
    assert row([9, 10, 50], [5, 5, 5], limit).keeps(limit) is holds


def test_a_gate_on_a_ratio_says_nothing_without_a_baseline() -> None:
    limit = Limit("ratio", "at least", 2)
    assert row([1], None, limit).keeps(limit) is None
    assert row([1]).keeps(None) is None


def test_a_report_knows_its_missed_gates_and_comes_back_from_json() -> None:
    kept = row([10.0], [1.0], Limit("ratio", "at least", 2))
    missed = row([1.0], [1.0], Limit("ratio", "at least", 2))
    report = Report("2030-01-01T00:00:00Z", False, {"cores": "2 cores"}, {"rounds": 1}, (kept, missed), {"bulk": "no"})
    assert report.missed == [missed]
    again = Report.from_json(report.to_json())
    assert list(again.rows) == [kept, missed]
    assert (again.failures, again.machine, again.quick) == ({"bulk": "no"}, {"cores": "2 cores"}, False)
    assert again.to_json() == report.to_json()


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_that_enough_do_not_exceed(numbers: list[float], share: float) -> None:
    found = percentile(numbers, share)
    assert sum(number <= found for number in numbers) >= share * len(numbers) - 1e-6
    assert sum(number < found for number in numbers) < share * len(numbers) + 1e-6


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(100)), 0.99) == 98
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
