"""Rates as they are written, and what answers say of them."""

from typing import Any

import pytest

from db.settings import SettingsRefusedError
from service.limits.rates import item_of, rate_of, say, unsay
from service.settings import ApiSettings, load
from tests.fixtures.structured import members

COLLECTED = "errander.headers"


@pytest.mark.parametrize(
    ("text", "quota", "seconds"),
    [("600/minute", 600, 60), ("50/second", 50, 1), ("5000 per 2 hours", 5000, 7200), ("1/day", 1, 86_400)],
)
def test_a_rate_has_a_quota_and_a_window(text: str, quota: int, seconds: int) -> None:
    rate = rate_of("key", text)
    assert rate is not None
    assert (rate.quota, rate.seconds) == (quota, seconds)
    assert members(rate.policy) == {"key": {"q": quota, "w": seconds}}


@pytest.mark.parametrize("text", ["off", " OFF "])
def test_off_is_no_limit(text: str) -> None:
    assert item_of(text) is None
    assert rate_of("key", text) is None
    assert rate_of("key", None) is None


@pytest.mark.parametrize("text", ["much", "0/minute", "10", "10/fortnight", "1/second;5/minute", "-1/minute", "1.5/s"])
@pytest.mark.parametrize("name", ["ERRANDER_RATE_LIMIT_KEY", "ERRANDER_RATE_LIMIT_TENANT", "ERRANDER_RATE_LIMIT_AUTH"])
def test_what_is_no_rate_is_refused_at_start_by_name(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    given = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h", "ERRANDER_AUTH": "off", name: text}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsRefusedError) as refused:
        load()
    assert len(refused.value.lines) == 1
    assert refused.value.lines[0].startswith(f"{name}: must be one rate such as 600/minute")


def test_guessing_is_limited_unless_it_is_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("REDIS_URL", "redis://h")
    settings = ApiSettings()
    assert (settings.rate_limit_key, settings.rate_limit_tenant, settings.rate_limit_auth) == (None, None, "30/minute")
    assert settings.queue_limit == 0


def test_policies_of_one_answer_stand_in_one_list() -> None:
    scope: dict[str, Any] = {COLLECTED: [(b"deprecation", b"@1")]}
    say(scope, '"a";q=1;w=60', '"a";r=0;t=3')
    say(scope, '"b";q=2;qu="jobs"', '"b";r=2')
    said = {name.decode(): value.decode() for name, value in scope[COLLECTED]}
    assert len(scope[COLLECTED]) == 3
    assert members(said["ratelimit-policy"]) == {"a": {"q": 1, "w": 60}, "b": {"q": 2, "qu": "jobs"}}
    assert members(said["ratelimit"]) == {"a": {"r": 0, "t": 3}, "b": {"r": 2}}
    unsay(scope)
    assert scope[COLLECTED] == [(b"deprecation", b"@1")]
