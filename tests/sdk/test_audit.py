"""`client.audit`: pages are read as they are needed, and no further than asked."""

from datetime import UTC, datetime
from typing import Any

import httpx

from errander import AsyncClient, Client
from tests.sdk.conftest import Scripted, answer


def entry(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "at": "2026-11-22T10:00:00.000000Z",
        "actor": "key:a",
        "action": "job.cancel",
        "object": {"kind": "job", "id": "job-1"},
        "before": {"status": "PENDING"},
        "after": {"status": "CANCELLED"},
        "reason": None,
        "request_id": "r",
        "address": None,
    } | changes


def page(*numbers: int, more: str | None = None) -> httpx.Response:
    return answer(200, {"items": [entry(number) for number in numbers], "next_cursor": more})


async def test_all_pages_are_read_with_the_filters_and_the_cursor() -> None:
    server = Scripted(page(3, 2, more="c1"), page(1))
    async with AsyncClient(transport=server.transport) as client:
        found = [one async for one in client.audit.list(action="job.*", after=datetime(2026, 1, 1, tzinfo=UTC))]
    assert [one.id for one in found] == [3, 2, 1]
    assert (found[0].object.kind, found[0].object.id, found[0].after) == ("job", "job-1", {"status": "CANCELLED"})
    assert [dict(request.url.params) for request in server.requests] == [
        {"action": "job.*", "after": "2026-01-01T00:00:00Z", "limit": "200"},
        {"action": "job.*", "after": "2026-01-01T00:00:00Z", "limit": "200", "cursor": "c1"},
    ]


def test_no_more_is_read_than_asked_for() -> None:
    server = Scripted(page(3, 2, more="c1"), page(1, more="c2"))
    with Client(transport=server.transport) as client:
        assert [one.id for one in client.audit.list(limit=3, ids=True)] == [3, 2, 1]
        assert list(client.audit.list(limit=0)) == []
    assert [dict(request.url.params) for request in server.requests] == [
        {"include": "ids", "limit": "3"},
        {"include": "ids", "limit": "1", "cursor": "c1"},
    ]
