"""Lists, the dead letter, and changes of many jobs at once."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from db import lists
from tests.api.problems import pointers
from tests.api.test_job_actions import end, run, submit
from tests.fixtures.jobs import JobBook


async def listed(api: httpx.AsyncClient, path: str = "/v1/jobs", **params: Any) -> list[str]:
    """Ids of a whole list, page by page."""
    return [job["id"] async for job in pages(api, path, **params)]


async def pages(api: httpx.AsyncClient, path: str = "/v1/jobs", **params: Any) -> AsyncIterator[dict[str, Any]]:
    while True:
        answer = await api.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for item in page["items"]:
            yield item
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


async def test_the_newest_job_comes_first_and_pages_do_not_overlap(api: httpx.AsyncClient) -> None:
    made = [(await submit(api))["id"] for _ in range(7)]
    assert await listed(api, limit=3) == made[::-1]
    assert await listed(api, limit=7) == made[::-1]


async def test_jobs_that_come_between_two_pages_do_not_move_the_second(api: httpx.AsyncClient) -> None:
    made = [(await submit(api))["id"] for _ in range(4)]
    first = (await api.get("/v1/jobs", params={"limit": 2})).json()
    await submit(api)
    second = (await api.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]


async def test_items_are_light_unless_more_is_asked_for(api: httpx.AsyncClient) -> None:
    job = await submit(api, payload={"n": 1})
    item = (await api.get("/v1/jobs")).json()["items"][0]
    assert {name: job[name] for name in item} == item
    assert set(job) - set(item) == {"payload", "result", "errors"}
    heavy = (await api.get("/v1/jobs?include=payload,errors")).json()["items"][0]
    assert (heavy["payload"], heavy["errors"], "result" in heavy) == ({"n": 1}, [], False)


async def test_each_filter_finds_its_job(api: httpx.AsyncClient, book: JobBook) -> None:
    wanted = await submit(
        api,
        pool="gpu",
        priority="high",
        tags=["a", "b"],
        metadata={"customer": 7, "x": {"y": 1}},
        payload={"user": {"ids": [1, "two"]}},
        delay=60,
    )
    plain = (
        await api.post(
            "/v1/jobs", json={"task": "demo.sleep", "payload": {"seconds": 1}}, headers={"Idempotency-Key": "k"}
        )
    ).json()
    for filters in (
        {"task": "demo.echo"},
        {"pool": "gpu"},
        {"priority": "high"},
        {"tag": ["a", "b"]},
        {"id": [wanted["id"], str(uuid4()), "not-an-id"]},
        {"scheduled": "true"},
        {"metadata.customer": "7"},
        {"metadata.x": '{"y": 1}'},
        {"payload.user.ids.0": "1"},
        {"payload.user.ids.1": "two"},
        {"task": "demo.echo", "metadata.customer": "7", "status": ["PENDING", "FAILED"]},
    ):
        assert await listed(api, **filters) == [wanted["id"]], filters
    for filters in ({"idempotency_key": "k"}, {"task": "demo.sleep"}, {"scheduled": "false"}, {"priority": "low"}):
        assert await listed(api, **filters) == [plain["id"]], filters
    for filters in ({"task": "demo.*"}, {"status": "PENDING"}, {"created_after": "2020-01-01T00:00:00Z"}):
        assert await listed(api, **filters) == [plain["id"], wanted["id"]], filters
    for filters in (
        {"task": "demo"},
        {"task": "emo.*"},
        {"tag": ["a", "c"]},
        {"worker": "not-an-id"},
        {"parent_id": str(uuid4())},
        {"unique_key": "k"},
        {"created_before": "2020-01-01T00:00:00Z"},
        {"finished_after": "2020-01-01T00:00:00Z"},
        {"metadata.customer": "8", "payload.user.ids.1": "2"},
        {"status": "WAITING"},
    ):
        assert await listed(api, **filters) == [], filters
    worker = await run(book, plain["id"])
    assert await listed(api, worker=worker, status="RUNNING") == [plain["id"]]
    await end(book, plain["id"], "SUCCESS")
    assert await listed(api, status="SUCCESS", finished_after="2020-01-01T00:00:00Z") == [plain["id"]]


@pytest.mark.parametrize(
    ("params", "pointer", "code"),
    [
        ({"colour": "red"}, "colour", "unknown-parameter"),
        ({"metadata.": "x"}, "metadata.", "unknown-parameter"),
        ({"status": "DONE"}, "status", "filter"),
        ({"priority": "urgent"}, "priority", "filter"),
        ({"task": "a b"}, "task", "filter"),
        ({"scheduled": "yes"}, "scheduled", "filter"),
        ({"created_after": "2030-01-01"}, "created_after", "filter"),
        ({"finished_before": "2030-02-30T00:00:00Z"}, "finished_before", "filter"),
        ({"pool": ["a", "b"]}, "pool", "repeated"),
        ({"id": ["x"] * 201}, "id", "too-many"),
        ({"tag": "a\x00"}, "tag", "filter"),
        ({"limit": "0"}, "limit", "range"),
        ({"limit": "201"}, "limit", "range"),
        ({"limit": ["1", "2"]}, "limit", "repeated"),
        ({"include": "payload,secrets"}, "include", "choice"),
        ({"cursor": "?"}, "cursor", "cursor"),
        ({"cursor": "W10"}, "cursor", "cursor"),
    ],
)
async def test_a_bad_parameter_is_named(
    api: httpx.AsyncClient, params: dict[str, Any], pointer: str, code: str
) -> None:
    assert pointers(await api.get("/v1/jobs", params=params)) == {pointer: code}
    assert pointers(await api.get("/v1/dead-letter", params=params)) == {pointer: code}


async def test_a_cursor_of_other_filters_is_refused(api: httpx.AsyncClient) -> None:
    for _ in range(2):
        await submit(api)
    cursor = (await api.get("/v1/jobs?limit=1&task=demo.echo")).json()["next_cursor"]
    assert pointers(await api.get("/v1/jobs", params={"cursor": cursor})) == {"cursor": "cursor-mismatch"}
    other = await api.get("/v1/dead-letter", params={"cursor": cursor, "task": "demo.echo"})
    assert pointers(other) == {"cursor": "cursor-mismatch"}


async def test_a_search_in_json_stops_at_its_bound_and_says_how_far_it_looked(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "DEEP_BOUND", 5)
    monkeypatch.setattr(lists, "STRETCH", 2)
    made = [await submit(api, metadata={"n": n % 2}) for n in range(8)]
    answer = (await api.get("/v1/jobs", params={"metadata.n": "1"})).json()
    assert [item["id"] for item in answer["items"]] == [made[7]["id"], made[5]["id"], made[3]["id"]]
    assert answer["next_cursor"] is None
    assert answer["searched_back_to"] == made[3]["created_at"]
    # pages share one bound
    first = (await api.get("/v1/jobs", params={"metadata.n": "1", "limit": 2})).json()
    second = (await api.get("/v1/jobs", params={"metadata.n": "1", "limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in second["items"]] == [made[3]["id"]]
    assert second["searched_back_to"] == made[3]["created_at"]


async def test_a_long_scan_answers_with_what_it_has_and_goes_on_from_there(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "STRETCH", 2)
    monkeypatch.setattr(lists, "SCAN_SECONDS", 0.0)
    made = [await submit(api, tags=["rare"] if n in (0, 7) else []) for n in range(9)]
    first = (await api.get("/v1/jobs", params={"tag": "rare"})).json()
    assert [item["id"] for item in first["items"]] == [made[7]["id"]]
    assert first["next_cursor"] is not None
    assert first["searched_back_to"] == made[6]["created_at"]
    assert await listed(api, tag="rare") == [made[7]["id"], made[0]["id"]]


async def test_a_query_that_takes_too_long_says_what_to_do(api: httpx.AsyncClient, book: JobBook) -> None:
    await submit(api)
    await book.execute(
        "CREATE FUNCTION errander.slow(jsonb, jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(9) IS NOT NULL'"
    )
    await book.execute(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET statement_timeout = %L',"
        " current_database(), '200ms'); END $$"
    )
    await book.execute("ALTER TABLE errander.jobs RENAME TO real_jobs")
    await book.execute(
        "CREATE VIEW errander.jobs AS SELECT * FROM errander.real_jobs WHERE errander.slow(payload, metadata)"
    )
    answer = await api.get("/v1/jobs", params={"task": "demo.echo", "status": "PENDING"})
    assert pointers(answer) == {"": "too-wide"}


async def failed(api: httpx.AsyncClient, book: JobBook, **fields: Any) -> str:
    job = await submit(api, **fields)
    await run(book, job["id"])
    await end(book, job["id"], "FAILED")
    return str(job["id"])


async def test_the_dead_letter_has_the_newest_failure_first(api: httpx.AsyncClient, book: JobBook) -> None:
    made = [await failed(api, book, tags=[f"t{n}"]) for n in range(5)]
    await submit(api)
    # the first job fails last
    await book.execute(
        "UPDATE errander.jobs SET failed_at = now() + interval '1 s' WHERE id = $1::uuid RETURNING id", made[0]
    )
    assert await listed(api, "/v1/dead-letter", limit=2) == [made[0], made[4], made[3], made[2], made[1]]
    assert await listed(api, "/v1/dead-letter", tag="t3") == [made[3]]
    assert await listed(api, "/v1/dead-letter", status="SUCCESS") == []
    assert await listed(api, status="FAILED") == made[::-1]


async def bulk(api: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_jobs_that_fit_are_cancelled_in_bounded_steps(api: httpx.AsyncClient, book: JobBook) -> None:
    for n in range(5):
        await submit(api, tags=["drop"], metadata={"n": n})
    kept = await submit(api)
    running = await submit(api, tags=["drop"])
    await run(book, running["id"])
    wanted = {"tag": ["drop"]}
    assert await bulk(api, "/v1/jobs/cancel", filter=wanted, dry_run=True) == {
        "matched": 6,
        "changed": 0,
        "more": False,
    }
    assert await bulk(api, "/v1/jobs/cancel", filter=wanted, limit=4, reason="no") == {
        "matched": 4,
        "changed": 4,
        "more": True,
    }
    assert await bulk(api, "/v1/jobs/cancel", filter=wanted) == {"matched": 2, "changed": 2, "more": False}
    assert await bulk(api, "/v1/jobs/cancel", filter=wanted) == {"matched": 0, "changed": 0, "more": False}
    assert (await api.get(f"/v1/jobs/{kept['id']}")).json()["status"] == "PENDING"
    asked = (await api.get(f"/v1/jobs/{running['id']}")).json()
    assert (asked["status"], asked["cancel_reason"]) == ("RUNNING", "no")


async def test_jobs_that_fit_are_replayed(api: httpx.AsyncClient, book: JobBook) -> None:
    await failed(api, book, metadata={"n": 1})
    await failed(api, book, metadata={"n": 2})
    cancelled = await submit(api)
    await api.post(f"/v1/jobs/{cancelled['id']}/cancel")
    assert await bulk(api, "/v1/dead-letter/replay", filter={"metadata.n": 1}) == {
        "matched": 1,
        "changed": 1,
        "more": False,
    }
    assert await bulk(api, "/v1/dead-letter/replay", filter={"status": "CANCELLED"}) == {
        "matched": 0,
        "changed": 0,
        "more": False,
    }
    assert await bulk(api, "/v1/jobs/replay", filter={}) == {"matched": 2, "changed": 2, "more": False}
    assert await book.execute("SELECT count(*) FROM errander.ready") == 3


async def test_a_bulk_change_needs_a_filter_that_is_right(api: httpx.AsyncClient) -> None:
    assert pointers(await api.post("/v1/jobs/cancel", json={})) == {"/filter": "required"}
    answer = await api.post("/v1/jobs/cancel", json={"filter": {"colour": 1, "status": "X"}})
    assert pointers(answer) == {"/filter/colour": "unknown-field"}
    answer = await api.post("/v1/jobs/cancel", json={"filter": {"status": ["X"]}})
    assert pointers(answer) == {"/filter/status": "filter"}
    assert pointers(await api.post("/v1/jobs/replay", json={"filter": {}, "limit": 10_001})) == {
        "/limit": "less-than-equal"
    }
