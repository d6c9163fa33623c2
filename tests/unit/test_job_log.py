"""What becomes of the lines that a task writes by its context."""

import json
import socket
import struct
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from workers.attempt import Attempt, Port
from workers.child import PipePort

LONG = "begins" + "x" * 20_000 + "ends"
KEPT = 16 * 1024


def test_a_worker_keeps_the_end_of_a_long_text() -> None:
    attempt = SimpleNamespace(job=SimpleNamespace(id="0199", attempt=1, task="a.task"))
    with capture_logs() as lines:
        Port(cast("Attempt", attempt)).log("info", LONG, {"body": LONG, "rows": 12, "event": LONG})
    (line,) = lines
    for name in ("message", "body", "field_event"):
        assert len(line[name]) == KEPT
        assert line[name].endswith("xends")
    assert (line["event"], line["rows"]) == ("job.log", 12)


def test_a_child_process_says_as_much_of_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        PipePort(theirs).log("info", LONG, {"rows": 12})
        (length,) = struct.unpack("!I", ours.recv(4, socket.MSG_WAITALL))
        said: dict[str, Any] = json.loads(ours.recv(length, socket.MSG_WAITALL))
    assert len(said["message"]) == KEPT
    assert said["message"].endswith("xends")
    assert said["fields"] == {"rows": 12}
