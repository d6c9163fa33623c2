"""Backoff: the formulas, the bounds, the wire form."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errander import Backoff, BackoffInvalid, Exponential, Fixed, Linear, parse_backoff

SECONDS = st.floats(0, 365 * 86_400)
JITTER = st.floats(0, 1)
BACKOFFS = st.one_of(
    st.builds(Exponential, base=SECONDS, factor=st.floats(1, 1000), max=SECONDS, jitter=JITTER),
    st.builds(Linear, base=SECONDS, max=SECONDS, jitter=JITTER),
    st.builds(Fixed, base=SECONDS, max=SECONDS, jitter=JITTER),
)


def test_exponential_waits_grow_by_the_factor_up_to_max() -> None:
    backoff = Exponential(base=2, factor=3, max=50, jitter=0)
    assert [backoff.delay(n, lambda: 0.0) for n in range(1, 6)] == [2, 6, 18, 50, 50]


def test_linear_waits_grow_by_the_base_up_to_max() -> None:
    backoff = Linear(base=10, max=25, jitter=0)
    assert [backoff.delay(n, lambda: 0.0) for n in range(1, 5)] == [10, 20, 25, 25]


def test_fixed_waits_stay_the_same() -> None:
    assert {Fixed(7, jitter=0).delay(n, lambda: 0.9) for n in range(1, 9)} == {7.0}


def test_jitter_takes_its_share_off_the_capped_wait() -> None:
    assert Exponential(base=100, max=10, jitter=0.5).delay(5, lambda: 0.5) == 7.5
    assert Fixed(8, jitter=True).delay(1, lambda: 0.75) == 2.0
    assert Fixed(8, jitter=False).delay(1, lambda: 0.75) == 8.0


@given(BACKOFFS, st.integers(1, 10**400), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_ever_negative_infinite_or_above_the_cap(backoff: Backoff, n: int, drawn: float) -> None:
    cap = backoff.max
    assert isinstance(cap, float)
    wait = backoff.delay(n, lambda: drawn)
    assert math.isfinite(wait)
    assert 0 <= wait <= cap


@given(BACKOFFS, st.integers(1, 100))
def test_without_luck_a_later_wait_is_never_shorter(backoff: Backoff, n: int) -> None:
    assert backoff.delay(n, lambda: 0.0) <= backoff.delay(n + 1, lambda: 0.0)


@given(BACKOFFS)
def test_the_wire_form_reads_back_as_the_same_backoff(backoff: Backoff) -> None:
    assert parse_backoff(backoff.to_dict()) == backoff


def test_the_default_is_the_one_a_job_shows() -> None:
    shown = {"kind": "exponential", "base": 2.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}
    assert Exponential().to_dict() == shown
    assert parse_backoff({}) == Exponential()
    assert all(
        isinstance(value, float) for name, value in Exponential(base=1, max=5).to_dict().items() if name != "kind"
    )


def test_timedeltas_are_read_as_seconds() -> None:
    assert Exponential(base=timedelta(minutes=1), max=timedelta(hours=1)) == Exponential(base=60, max=3600)


def test_a_fixed_wait_is_never_above_max() -> None:
    assert parse_backoff({"kind": "fixed", "base": 90, "max": 60, "jitter": 0}).delay(1, lambda: 0.0) == 60
    assert Fixed(1000, jitter=0).delay(1, lambda: 0.0) == 600


@pytest.mark.parametrize("kind", ["exponential", "linear", "fixed"])
def test_the_kind_of_a_jobs_backoff_can_be_changed_alone(kind: str) -> None:
    """All kinds show `base`, `max` and `jitter`, and take the `factor` that only one of them uses."""
    found = parse_backoff(Exponential(base=7, factor=3, max=99, jitter=0.25).to_dict() | {"kind": kind})
    shown = {"kind": kind, "base": 7.0, "max": 99.0, "jitter": 0.25}
    assert found.to_dict() == shown | ({"factor": 3.0} if kind == "exponential" else {})


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"kind": "fibonacci"}, "kind"),
        ({"kind": ["linear"]}, "kind"),
        ({"base": -1}, "base"),
        ({"base": "2"}, "base"),
        ({"base": True}, "base"),
        ({"base": math.nan}, "base"),
        ({"base": 10**400}, "base"),
        ({"max": 366 * 86_400}, "max"),
        ({"factor": 0.5}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"jitter": 1.5}, "jitter"),
        ({"kind": "linear", "factor": 0.5}, "factor"),
        ({"kind": "fixed", "factor": "2"}, "factor"),
        ({"kind": "fixed", "max": -1}, "max"),
        ({"wait": 2}, "wait"),
        ([], None),
    ],
)
def test_what_cannot_be_used_is_refused_naming_the_field(value: Any, field: str | None) -> None:
    with pytest.raises(BackoffInvalid) as caught:
        parse_backoff(value)
    assert caught.value.field == field


def test_a_wait_before_any_failure_is_refused() -> None:
    for backoff in (Exponential(), Linear(), Fixed()):
        with pytest.raises(ValueError, match="at least 1"):
            backoff.delay(0, lambda: 0.0)
