import contextlib
import io
import os
import threading
from pathlib import Path

import pytest

from service.supervise import Console, LogFile, last_lines


class Stuck(io.StringIO):
    """A terminal whose reader does not read until told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()

    def write(self, text: str) -> int:
        self.reads.wait(10)
        return super().write(text)


def test_lines_come_in_order_with_the_name_of_their_part() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.relay("api", "hello")
    console.say("done")
    assert console.flush()
    assert stream.getvalue() == "api       | hello\ndone\n"


def test_a_terminal_that_is_not_read_costs_lines_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervise.output._QUEUED_LINES", 3)
    stream = Stuck()
    console = Console(stream)
    for number in range(20):
        console.say(str(number))
    assert not console.flush(0.01)
    stream.reads.set()
    assert console.flush()
    console.say("end")
    assert console.flush()
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "end"
    assert any("only in the log files" in line for line in lines)
    assert len(lines) < 20


def test_a_reader_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    console = Console(stream)
    console.say("hello")
    console.say("again")
    assert console.flush()
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def test_a_log_file_starts_over_and_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervise.output._LOG_BYTES", 20)
    log = LogFile(tmp_path / "logs" / "api.log")
    for line in (b"0123456789\n", b"first\n", b"second\n"):
        log.write(line)
    log.close()
    assert log.path.read_bytes() == b"second\n"
    assert (tmp_path / "logs" / "api.log.1").read_bytes() == b"0123456789\nfirst\n"


def test_the_last_lines_of_a_log_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none", 3) == []
    (tmp_path / "some").write_text("a\nb\nc\n")
    assert last_lines(tmp_path / "some", 2) == ["b", "c"]
