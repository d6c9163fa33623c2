"""`docs/guarantees.md`: each promise names tests that prove it."""

import re

import pytest

from tests.architecture.pages import named_tests
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
NAMED = named_tests(PAGE)
PROMISES = re.findall(r"^### (.+?)\n(.*?)(?=^#)", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "text"), PROMISES, ids=[title for title, _ in PROMISES])
def test_every_promise_names_tests_that_prove_it(title: str, text: str) -> None:
    assert re.search(r"^- `tests/[\w/]+\.py::test_\w+`$", text, re.MULTILINE), title


def test_the_promises_are_found() -> None:
    assert len(PROMISES) >= 7
    assert len(NAMED) > 40


def test_every_name_of_a_test_is_written_so_that_it_is_looked_for() -> None:
    assert PAGE.count("tests/") == len(NAMED)
