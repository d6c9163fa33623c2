"""Wrong secrets: whose they are, how many there may be, and what is kept of them."""

from typing import Final

import pytest

from service.http.problems import Problem
from service.limits import guesses
from service.limits.guesses import Guesses, network_of
from service.limits.rates import rate_of
from tests.fixtures.structured import members

RATE: Final = rate_of("auth", "2/minute")


def test_one_more_than_there_may_be_is_refused_until_the_window_ends() -> None:
    now = 0.0
    counted = Guesses(RATE, clock=lambda: now)
    counted.count("192.0.2.1", "a")
    now = 20.0
    counted.may_go_on("192.0.2.1", "a")
    counted.count("192.0.2.1", "a")
    now = 30.5
    for asked in (counted.count, counted.may_go_on):
        with pytest.raises(Problem) as refused:
            asked("192.0.2.1", "a")
        assert refused.value.code == "quota-exceeded"
        assert refused.value.extra == {"violated-policies": ["auth"]}
        headers = refused.value.headers
        assert headers["Retry-After"] == "30"
        assert members(headers["RateLimit-Policy"]) == {"auth": {"q": 2, "w": 60}}
        assert members(headers["RateLimit"]) == {"auth": {"r": 0, "t": 30}}
    counted.may_go_on("192.0.2.2", "a")
    counted.may_go_on("192.0.2.1", "b")
    now = 60.0
    counted.may_go_on("192.0.2.1", "a")
    counted.count("192.0.2.1", "a")
    counted.count("192.0.2.1", "a")


def test_without_a_rate_nothing_is_refused() -> None:
    counted = Guesses(None)
    for _ in range(100):
        counted.count("192.0.2.1", "a")
    counted.may_go_on("192.0.2.1", "a")


def test_invented_ids_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MOST", 10)
    counted = Guesses(RATE, clock=lambda: 0.0)
    for number in range(100):
        for _ in range(2):
            counted.count("192.0.2.1", str(number))
    assert len(counted._counts) == 10
    with pytest.raises(Problem):
        counted.may_go_on("192.0.2.1", "99")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::9", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_a_customer_is_an_address_or_a_network_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network
