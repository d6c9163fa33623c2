"""What holds for every page of the documentation: the tests it names exist, and its links lead somewhere."""

from pathlib import Path

import pytest

from tests.architecture.pages import PAGES, anchors, broken_links, missing_tests, named_tests
from tests.architecture.tree import ROOT, shown

EVERY = pytest.mark.parametrize("page", PAGES, ids=[shown(page) for page in PAGES])


@EVERY
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    assert missing_tests(page) == []


@EVERY
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_pages_tests_and_links_are_found(tmp_path: Path) -> None:
    assert {shown(page) for page in PAGES} > {"README.md", "CHANGELOG.md", "docs/api.md", "tests/faults/README.md"}
    assert len(named_tests((ROOT / "docs/guarantees.md").read_text(encoding="utf-8"))) > 40
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, `with` signs\n```\n# no heading, [no link](nowhere.md)\n```\n[a](#a-title-with-signs) [b](#no-heading)"
        " [c](page.md#a) [d](gone.md) [e](https://example.org/gone)\n`tests/gone.py::test_a` and"
        " `tests/architecture/test_pages.py::test_gone`, `tests/architecture/pages.py::anchors`\n"
    )
    assert anchors(page) == {"a-title-with-signs"}
    assert list(broken_links(page)) == ["#no-heading", "page.md#a", "gone.md"]
    assert missing_tests(page) == ["tests/gone.py::test_a", "tests/architecture/test_pages.py::test_gone"]
