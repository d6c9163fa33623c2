"""Every fault and every trap of the README is shown by tests, or says why it is not tried."""

import re
from pathlib import Path

README = Path(__file__).with_name("README.md")
FAULTS, TRAPS = 34, 23


def _sections(title: str) -> dict[int, str]:
    """Number → text of each section under a heading."""
    text = README.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    parts = re.split(r"^### (\d+)\. ", text, flags=re.MULTILINE)[1:]
    return dict(zip(map(int, parts[::2]), parts[1::2], strict=True))


def test_every_fault_and_every_trap_has_a_test_or_a_reason() -> None:
    for title, last in (("Faults", FAULTS), ("Traps", TRAPS)):
        sections = _sections(title)
        assert list(sections) == list(range(1, last + 1))
        bare = [n for n, text in sections.items() if "::" not in text and "\nNot " not in text]
        assert bare == []
