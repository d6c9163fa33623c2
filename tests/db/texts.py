"""Statements as the tests change them: with a condition taken out, or with a place to stop at put in."""

from collections.abc import Callable

from db import statements


class Texts:
    """Stands in for `statements.source`; what is not changed is read as it is."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._changed: dict[str, str] = {}

    def source(self, name: str) -> str:
        """The statement's text, changed or not."""
        return self._changed.get(name) or self._read(name)

    def replace(self, name: str, old: str, new: str, *, times: int = 1) -> None:
        """Puts `new` where `old` stands in `name`, which must be there exactly `times` times."""
        text = self.source(name)
        assert text.count(old) == times, f"{name}.sql holds {old!r} {text.count(old)} times, not {times}"
        self._changed[name] = text.replace(old, new)
        statements.load.cache_clear()
