"""What the doctor makes of what it finds."""

import pytest

from db.diagnosis import Server
from db.roles import ROLE_SETTINGS
from service.doctor import Grade, clock_finding, role_findings, same_setting, version_finding


def server(version: int = 160_004, **settings: str) -> Server:
    return Server(version, "x", "app", 0.0, ROLE_SETTINGS | settings)


@pytest.mark.parametrize(("version", "grade"), [(150_009, Grade.FAIL), (160_000, Grade.OK), (180_006, Grade.OK)])
def test_an_old_postgresql_fails(version: int, grade: Grade) -> None:
    assert version_finding(server(version)).grade == grade


@pytest.mark.parametrize(
    ("offset", "grade"),
    [(0.01, Grade.OK), (-0.01, Grade.OK), (-2.0, Grade.WARN), (2.0, Grade.WARN), (90.0, Grade.FAIL)],
)
def test_a_clock_that_is_off_is_told(offset: float, grade: Grade) -> None:
    found = clock_finding("clock", offset)
    assert found.grade == grade
    assert bool(found.todo) == (grade != Grade.OK)


def test_every_limit_that_is_missing_is_named() -> None:
    assert [finding.grade for finding in role_findings(server())] == [Grade.OK]
    found = role_findings(server(statement_timeout="0ms", jit="on"))
    assert [finding.grade for finding in found] == [Grade.WARN] * 2
    assert "statement_timeout is 0ms, not 5s" in found[0].text


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("5000ms", "5s", True),
        ("5s", "5s", True),
        ("10", "10", True),
        ("60000ms", "1min", True),
        ("on", "off", False),
        ("0ms", "5s", False),
        ("10s", "10", True),
    ],
)
def test_settings_are_compared_with_their_units(found: str, wanted: str, same: bool) -> None:
    assert same_setting(found, wanted) is same
