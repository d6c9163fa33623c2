"""The pages of the documentation, as the architecture tests read them."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import ROOT, functions

PAGES = tuple(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(pattern))
)
"""Every page that is written by hand."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file, function) of every test that a text names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def missing_tests(page: Path) -> list[str]:
    """The tests that a page names and that are not there."""
    named = named_tests(page.read_text(encoding="utf-8"))
    known = {path: _functions_of(ROOT / path) for path, _ in named}
    return [f"{path}::{name}" for path, name in named if name not in known[path]]


def broken_links(page: Path) -> Iterator[str]:
    """The links of a page, into this repository, that lead to no file, or to no heading of it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", link):  # to somewhere else
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def anchors(page: Path) -> set[str]:
    """The names under which GitHub lets the headings of a page be linked to; that of a heading said twice is its first."""
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _functions_of(path: Path) -> set[str]:
    return {function.name for function in functions(path)} if path.exists() else set()
