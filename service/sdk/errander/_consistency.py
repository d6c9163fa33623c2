"""`client.consistency()`: whether what the service stores obeys its own rules."""

from datetime import datetime

from pydantic import Field

from ._core import Read


class Finding(Read):
    """One broken rule: how many break it, up to 20 of them, what is wrong and what to do. `severity`: error, warning."""

    code: str
    severity: str = "error"
    count: int = 0
    examples: list[str] = Field(default_factory=list)
    message: str = ""
    action: str = ""


class Consistency(Read):
    """One check of the whole deployment; `clean` says that no finding is an error. `looked_at` counts rows by place."""

    clean: bool
    checked_at: datetime | None = None
    findings: list[Finding] = Field(default_factory=list)
    checked: list[str] = Field(default_factory=list)
    looked_at: dict[str, int] = Field(default_factory=dict)
