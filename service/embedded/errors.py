"""Errors of the embedded servers, each one line that says what to do.

EmbeddedError
├── ServersMissingError  the wheels that carry the server programs are not installed
└── ServerStartError     the server ended, or was not ready in time; its log's end comes with it
"""

from collections.abc import Sequence


class EmbeddedError(Exception):
    """An embedded server cannot be used."""


class ServersMissingError(EmbeddedError):
    """The server programs are not installed for this platform."""

    def __init__(self, distribution: str) -> None:
        super().__init__(
            f"the server programs of {distribution} are not installed here (Linux with glibc on x86_64 or aarch64, "
            "macOS on arm64); elsewhere use: docker compose up --build"
        )
        self.distribution = distribution


class ServerStartError(EmbeddedError):
    """The server did not come up. `lines`: the end of its log."""

    def __init__(self, reason: str, lines: Sequence[str]) -> None:
        super().__init__("\n".join([reason, *lines]))
        self.lines = tuple(lines)
