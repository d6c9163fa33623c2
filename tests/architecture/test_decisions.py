"""The decision pages: numbered without gaps, one shape, and what they name exists."""

import re

import pytest

from tests.architecture.tree import ROOT

PAGES = sorted((ROOT / "docs/decisions").glob("*.md"))


def test_they_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in PAGES]
    assert numbers == list(range(1, len(PAGES) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_title_with_its_number_and_is_short(page: object) -> None:
    path = next(found for found in PAGES if found == page)
    text = path.read_text()
    assert re.match(rf"# {int(path.name[:4])}\. \S", text)
    assert text.count("\n") <= 80
    assert "ecision" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_it_names_exist(page: object) -> None:
    text = next(found for found in PAGES if found == page).read_text()
    for path in re.findall(r"`((?:db|workers|service|tests|deploy|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
