"""What the log says of those who were turned away: enough to see who, and a bounded number of lines a period."""

from typing import Any

from service.auth import refusals as module
from service.auth.refusals import LINES, SECONDS, Refusals
from service.http.problems import Problem
from tests.fixtures.logs import captured


def test_a_flood_is_told_in_a_few_lines_and_a_number() -> None:
    now, asked = 0.0, 0
    refusals = Refusals(clock=lambda: now)

    def who() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"address": "192.0.2.1"}

    with captured(module) as lines:
        for _ in range(460):
            refusals.tell(Problem("unauthenticated", "wrong"), who)
        refusals.tell(Problem("forbidden", "not yours"), who)
        assert len(lines) == asked == LINES + 1, "one code does not hide another"
        assert lines[-1] == {
            "event": "auth.refused",
            "log_level": "info",
            "code": "forbidden",
            "detail": "not yours",
            "address": "192.0.2.1",
        }
        now = SECONDS
        refusals.tell(Problem("unauthenticated", "wrong"), who)
        more, last = lines[-2:]
        assert (more["event"], more["code"], more["refusals"]) == ("auth.refused_more", "unauthenticated", 460 - LINES)
        assert last["event"] == "auth.refused"
        refusals.settle()
        refusals.settle()
        assert lines[-1] is last
