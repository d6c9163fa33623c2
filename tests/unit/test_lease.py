"""How long a beat lets code start."""

import time

import pytest

from workers.lease import Lease


@pytest.mark.parametrize(("age", "fresh"), [(0.0, True), (14.9, True), (15.0, False), (29.0, False), (31.0, False)])
def test_code_may_start_for_half_a_lease_after_the_last_answered_beat_was_sent(
    monkeypatch: pytest.MonkeyPatch, age: float, fresh: bool
) -> None:
    held = Lease(30.0)
    held.renewed(1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + age)
    assert held.fresh() is fresh


def test_a_lease_that_was_never_renewed_or_is_lost_is_not_fresh() -> None:
    held = Lease(30.0)
    assert not held.fresh()
    held.renewed(time.monotonic())
    assert held.fresh()
    held.lost = True
    assert not held.fresh()
