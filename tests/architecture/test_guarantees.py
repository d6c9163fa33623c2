"""`docs/guarantees.md`: each promise names tests, and each of them exists."""

import re

import pytest

from tests.architecture.tree import ROOT, functions

PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
PROMISES = re.findall(r"^### (.+?)\n(.*?)(?=^#)", PAGE, re.MULTILINE | re.DOTALL)
LINKS = {
    link
    for page in ("guarantees", "chaos")
    for link in re.findall(r"\]\(([\w/.-]+\.md)", (ROOT / f"docs/{page}.md").read_text())
}


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_the_page_names_exists(path: str) -> None:
    known = {function.name for function in functions(ROOT / path)}
    assert {name for where, name in NAMED if where == path} - known == set()


@pytest.mark.parametrize(("title", "text"), PROMISES, ids=[title for title, _ in PROMISES])
def test_every_promise_names_tests_that_prove_it(title: str, text: str) -> None:
    assert re.search(r"^- `tests/[\w/]+\.py::test_\w+`$", text, re.MULTILINE), title


def test_the_promises_are_found() -> None:
    assert len(PROMISES) >= 7
    assert len(NAMED) > 40


def test_every_name_of_a_test_is_written_so_that_it_is_looked_for() -> None:
    assert PAGE.count("tests/") == len(NAMED)


def test_every_page_that_is_linked_exists() -> None:
    assert LINKS
    assert [link for link in LINKS if not (ROOT / "docs" / link).is_file()] == []
