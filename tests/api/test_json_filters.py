"""Filters that look into JSON: a value is compared as JSON and as text."""

import json
from typing import Any

import httpx
import pytest

from tests.api.test_job_actions import end, run, submit
from tests.api.test_job_lists import bulk, listed
from tests.fixtures.jobs import JobBook

KEPT: dict[str, Any] = {
    "seven": 7,
    "none": None,
    "yes": True,
    "object": {"x": 1, "y": [1, 2]},
    "list": [1, 2],
    "empty": {},
    "nothing": [],
    "word": "a b",
    "digit": "7",
    "odd": "\\u0000 is six letters",
}

SAME: list[tuple[str, str]] = [
    ("seven", "7"),
    ("seven", "7.0"),
    ("seven", "70e-1"),
    ("none", "null"),
    ("yes", "true"),
    ("object", '{"y":[1,2],"x":1}'),
    ("object", '{ "x": 1.0, "y": [1, 2] }'),
    ("list", "[1,2]"),
    ("empty", "{}"),
    ("nothing", "[ ]"),
    ("word", "a b"),
    ("word", '"a b"'),
    ("digit", "7"),
    ("digit", '"7"'),
    ("odd", json.dumps("\\u0000 is six letters")),
]

OTHER: list[tuple[str, str]] = [
    ("seven", "8"),
    ("seven", '"7"'),
    ("gone", "null"),
    ("none", "false"),
    ("object", '{"x":1}'),
    ("list", "[2,1]"),
    ("empty", "[]"),
    # what Python's reader takes and PostgreSQL's does not is compared as text
    ("seven", "NaN"),
    ("seven", "[-Infinity]"),
    ("seven", "1e999999"),
    ("seven", "7e-999999999999999999999"),
    ("seven", "9" * 1000),
    ("seven", '"\\u0000"'),
    ("seven", '{"\\ud800":1}'),
    ("seven", "[" * 500 + "]" * 500),
    ("seven", "[" * 1000),
]


@pytest.mark.parametrize("prefix", ["metadata", "payload"])
async def test_a_value_is_compared_as_json_and_as_text(api: httpx.AsyncClient, prefix: str) -> None:
    job = await submit(api, **{prefix: KEPT})
    for name, value in SAME:
        assert await listed(api, **{f"{prefix}.{name}": value}) == [job["id"]], (name, value)
    for name, value in OTHER:
        assert await listed(api, **{f"{prefix}.{name}": value}) == [], (name, value)


@pytest.mark.parametrize("name", KEPT)
async def test_a_filter_in_a_body_takes_any_value_as_it_was_kept(
    api: httpx.AsyncClient, book: JobBook, name: str
) -> None:
    job = await submit(api, metadata=KEPT, payload={"deep": KEPT})
    await submit(api, metadata={name: "other"}, payload={"deep": {name: "other"}})
    await run(book, job["id"])
    await end(book, job["id"], "FAILED")
    filters = {f"metadata.{name}": KEPT[name], f"payload.deep.{name}": KEPT[name]}
    once = {"matched": 1, "changed": 1, "more": False}
    texts = {key: json.dumps(value) for key, value in filters.items()}
    assert await listed(api, "/v1/dead-letter", **texts) == [job["id"]]
    assert await bulk(api, "/v1/dead-letter/replay", filter=filters) == once
    assert await bulk(api, "/v1/jobs/cancel", filter=filters) == once
