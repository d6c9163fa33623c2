"""`errander audit list`."""

import json
from typing import Any

from tests.cli.conftest import Api, Run

ENTRY: dict[str, Any] = {
    "id": 7,
    "at": "2026-11-22T10:00:00.000000Z",
    "actor": "key:a1",
    "action": "queue.pause",
    "object": {"kind": "queue", "id": "high"},
    "before": {"paused": False},
    "after": {"paused": True, "reason": "deploy"},
    "reason": "deploy",
    "request_id": "r-1",
    "address": "10.0.0.7",
}


def test_the_log_is_printed_as_a_table(api: Api, run: Run, terminal: None) -> None:
    api.replies["/v1/audit"] = (200, {"items": [ENTRY], "next_cursor": None})
    code, out, _ = run("audit", "list")
    assert code == 0
    row = out.splitlines()[1]
    for word in ("2026-11-22 10:00:00Z", "key:a1", "queue.pause", "queue high", '{"paused": false} → {"paused": true'):
        assert word in row


def test_filters_are_sent_and_entries_come_whole(api: Api, run: Run) -> None:
    api.replies["/v1/audit"] = (200, {"items": [ENTRY], "next_cursor": "more"})
    words = (
        "--action",
        "queue.*",
        "--kind",
        "queue",
        "--id",
        "high",
        "--after",
        "2026-01-01T00:00:00Z",
        "--limit",
        "1",
    )
    code, out, _ = run("audit", "list", *words)
    assert (code, json.loads(out)) == (0, [ENTRY])
    _, target, _ = api.requests[-1]
    assert target == (
        "/v1/audit?action=queue.%2A&object_kind=queue&object_id=high&after=2026-01-01T00%3A00%3A00Z&limit=1"
    )
    assert len(api.requests) == 1
