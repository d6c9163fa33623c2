"""What the answer of pip-audit means for `make lint`."""

import json
from typing import Any

from tests.audit.__main__ import judged


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (2)"}
FOUND = {
    "name": "c",
    "version": "3",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["3.1"], "description": ""}],
}


def test_a_finding_fails_and_is_named() -> None:
    lines, code = judged(answer(CLEAN, UNKNOWN, FOUND), "")
    assert (len(lines), code) == (1, 1)
    assert "c 3 is vulnerable: PYSEC-1, CVE-2026-1 (fixed in 3.1)" in lines[0]


def test_what_is_clean_is_said_briefly() -> None:
    assert judged(answer(CLEAN), "") == (["pip-audit: 1 packages have no known vulnerability"], 0)


def test_what_nobody_knows_is_said_loudly_and_does_not_fail() -> None:
    lines, code = judged(answer(UNKNOWN, UNKNOWN), "")
    assert code == 0
    assert "NOT CHECKED: 2 of 2 packages" in lines[0]
    assert len(lines) == 1
    lines, code = judged(answer(UNKNOWN, CLEAN), "")
    assert (len(lines), code) == (2, 0)


def test_a_service_that_does_not_answer_is_said_loudly_and_does_not_fail() -> None:
    for output in ("", "{}", "no json"):
        lines, code = judged(output, "Traceback …\nConnectionError: no route\n")
        assert code == 0
        assert "NOT CHECKED" in lines[0]
        assert "no route" in lines[0]
