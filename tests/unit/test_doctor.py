"""What the doctor makes of what it finds."""

import pytest

from db.diagnosis import Server
from db.roles import ROLE_SETTINGS
from db.urls import Encryption
from service.checks.doctor import Grade, clock_finding, role_findings, same_setting, tls_findings, version_finding
from service.checks.doctor_tls import refused_certificate


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


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_a_way_that_others_can_listen_to_is_told(store: str) -> None:
    assert tls_findings(store, Encryption.LOCAL) == []
    for found in Encryption:
        for finding in tls_findings(store, found):
            safe = found in (Encryption.VERIFIED, Encryption.VERIFIED_ISSUER)
            assert finding.grade == (Grade.OK if safe else Grade.WARN)
            assert finding.subject == f"{store} tls"
            assert bool(finding.todo) != safe


@pytest.mark.parametrize(
    ("words", "todo"),
    [
        ("certificate verify failed: Hostname mismatch, certificate is not valid for 'h'", "by a name that stands in"),
        ("certificate verify failed: IP address mismatch, certificate is not valid for '10.0.0.1'", "by a name"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", "sslrootcert"),
        ('root certificate file "~/.postgresql/root.crt" does not exist or cannot be accessed', "sslrootcert"),
        ('PostgreSQL server at "h:5432" rejected SSL upgrade', "speaks no TLS"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "sslcert and sslkey"),
        ("Connection refused", None),
    ],
)
def test_a_certificate_that_was_refused_is_told_from_other_trouble(words: str, todo: str | None) -> None:
    found = refused_certificate("postgres", words)
    assert (found is None) if todo is None else (found is not None and todo in found)
