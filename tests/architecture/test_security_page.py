"""`docs/security.md`: each threat names tests that prove its control; what it lists is what the code has."""

import re

import pytest

from db.roles import ROLE_SETTINGS
from service.auth.scopes import ROLES
from tests.architecture.pages import named_tests
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = named_tests(PAGE)
THREATS = re.findall(r"^### (.+?)\n(.*?)(?=^#)", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "text"), THREATS, ids=[title for title, _ in THREATS])
def test_every_threat_names_tests_that_prove_its_control(title: str, text: str) -> None:
    assert re.search(r"^- `tests/[\w/]+\.py::test_\w+`$", text, re.MULTILINE), title


def test_all_ten_of_owasp_are_looked_at() -> None:
    named = {number for title, _ in THREATS for number in re.findall(r"API(\d+)", title)}
    named |= set(re.findall(r"\(API(\d+)\)", PAGE))
    assert named == {str(number) for number in range(1, 11)}
    assert len(NAMED) > 40
    assert PAGE.count("tests/") == len(NAMED)


def test_the_limits_of_the_role_are_those_of_the_code() -> None:
    said = re.findall(
        r"^ALTER ROLE errander_app IN DATABASE errander SET (\w+) = '(\w+)';(?:  --.+)?$", PAGE, re.MULTILINE
    )
    assert dict(said) == ROLE_SETTINGS


def test_the_roles_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {name for name in rows if name in ROLES} == set(ROLES)
    for name in ("viewer", "submitter"):
        assert set(re.findall(r"`([\w:]+)`", rows[name])) == set(ROLES[name])
    both = ROLES["viewer"] | ROLES["submitter"]
    assert both | set(re.findall(r"`([\w:]+)`", rows["operator"])) == ROLES["operator"]
