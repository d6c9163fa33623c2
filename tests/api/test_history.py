"""`GET /v1/jobs/{id}/history`: who did what, and when, also after a replay."""

import re
from typing import Any
from uuid import UUID

import httpx

from db import jobs
from db.engine import Database
from tests.api.test_job_actions import end, run, submit
from tests.fixtures.jobs import TENANT, JobBook

_UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


async def history(api: httpx.AsyncClient, job: str) -> list[dict[str, Any]]:
    answer = await api.get(f"/v1/jobs/{job}/history")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def times(value: Any) -> list[str]:
    """Every text of a document that begins like a time."""
    if isinstance(value, dict | list):
        return [found for part in (value.values() if isinstance(value, dict) else value) for found in times(part)]
    return [value] if isinstance(value, str) and re.match(r"^\d{4}-\d\d-\d\dT", value) else []


async def test_every_time_in_a_history_is_utc_with_z(api: httpx.AsyncClient, book: JobBook) -> None:
    job = (await submit(api, delay=60, expires_in=600))["id"]
    edit = {
        "run_at": "2039-01-01T01:00:00+01:00",
        "expires_at": None,
        "payload": {"run_at": "2039-01-01T00:00:00+00:00"},
    }
    assert (await api.patch(f"/v1/jobs/{job}", json=edit)).status_code == 200
    await book.execute(
        "INSERT INTO errander.history (job_id, event, status, attempt, detail) VALUES ($1::uuid, 'failed', 'RETRYING', 1,"
        """ '{"kind": "error", "run_at": "2039-01-01T00:00:00+00:00"}')""",
        job,
    )
    await api.post(f"/v1/jobs/{job}/cancel")
    await api.post(f"/v1/jobs/{job}/replay")
    items = await history(api, job)
    assert [event["event"] for event in items] == ["submitted", "edited", "failed", "finished", "replayed"]
    assert set(items[1]["detail"]["before"]) == set(edit)
    assert items[2]["detail"]["run_at"] == "2039-01-01T00:00:00.000000Z"
    found = times(items)
    assert len(found) == 5 + 2 + 1 + 1  # of the events; of what the edit changed; of the retry; of the end undone
    assert [one for one in found if not _UTC.match(one)] == []


async def test_a_former_payload_is_shown_as_it_was(api: httpx.AsyncClient) -> None:
    payload = {"run_at": "2039-01-01T00:00:00+00:00", "expires_at": "soon"}
    job = (await submit(api, delay=60, payload=payload))["id"]
    await api.patch(f"/v1/jobs/{job}", json={"payload": {}})
    assert (await history(api, job))[-1]["detail"]["before"] == {"payload": payload}


async def test_a_replay_leaves_in_the_history_who_cancelled_and_why(api: httpx.AsyncClient, book: JobBook) -> None:
    job = (await submit(api))["id"]
    await api.post(f"/v1/jobs/{job}/cancel", json={"reason": "ordered twice"})
    cancelled = (await history(api, job))[-1]
    assert (cancelled["by"], cancelled["detail"]) == ("client", {"reason": "ordered twice"})
    await api.post(f"/v1/jobs/{job}/replay", json={"reason": "was right"})
    items = await history(api, job)
    assert items[-2] == cancelled
    assert items[-1]["detail"]["reason"] == "was right"
    worker = await run(book, job)
    await end(book, job, "FAILED")
    failed = (await history(api, job))[-1]
    assert (failed["status"], failed["by"], failed["worker"], failed["detail"]) == ("FAILED", None, worker, None)
    await api.post(f"/v1/jobs/{job}/replay")
    items = await history(api, job)
    assert (items[-2], items[1]) == (failed, cancelled)


async def test_a_replay_that_an_older_version_noted_is_told_without_who_cancelled(
    api: httpx.AsyncClient, book: JobBook
) -> None:
    job = (await submit(api))["id"]
    await book.execute(
        "INSERT INTO errander.history (job_id, at, event, status, attempt, by, detail) VALUES ($1::uuid, now(),"
        """ 'replayed', 'PENDING', 0, 'client', '{"status": "CANCELLED", "finished_at": "2026-01-02T03:04:05+00:00"}')""",
        job,
    )
    finished = (await history(api, job))[0]
    assert (finished["event"], finished["at"]) == ("finished", "2026-01-02T03:04:05.000000Z")
    assert (finished["by"], finished["detail"]) == (None, None)


async def test_a_replay_with_a_payload_says_how_large_that_is(api: httpx.AsyncClient, database: Database) -> None:
    job = (await submit(api, payload={"n": 1}))["id"]
    await api.post(f"/v1/jobs/{job}/cancel")

    async def noted() -> tuple[int, int]:
        row = await database.link.executor.fetchrow(
            "SELECT payload_bytes, octet_length(payload::text) AS there FROM errander.jobs WHERE id = $1::uuid", job
        )
        assert row is not None
        return row["payload_bytes"], row["there"]

    answer = await api.post(f"/v1/jobs/{job}/replay", json={"payload": {"text": "é" * 10_000}})
    assert answer.status_code == 200
    said, there = await noted()
    assert said == there > 20_000
    async with database.begin() as link:
        await jobs.cancel(link, TENANT, [UUID(job)], None)
    await api.post(f"/v1/jobs/{job}/replay")
    assert await noted() == (said, there)
