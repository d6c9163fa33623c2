"""The decision pages: numbered without gaps, one shape, and what they name exists."""

import re
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

PAGES = sorted((ROOT / "docs/decisions").glob("*.md"))


def test_they_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in PAGES]
    assert numbers == list(range(1, len(PAGES) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_title_with_its_number_a_context_a_decision_and_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {int(page.name[:4])}\. \S", text)
    assert text.count("\n") <= 80
    assert re.findall(r"^\*\*(Context|Decision)\.\*\*", text, re.MULTILINE) == ["Context", "Decision"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_it_names_exist(page: Path) -> None:
    for path in re.findall(r"`((?:db|workers|service|tests|deploy|docs)/[\w/.-]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
