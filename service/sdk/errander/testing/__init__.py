"""Tests without a server: `run` one attempt of a task in process, or give a client a `FakeErrander` to talk to."""

from ._attempts import LogLine, Outcome, ProgressMark, run
from ._fake import FakeErrander

__all__ = ["FakeErrander", "LogLine", "Outcome", "ProgressMark", "run"]
