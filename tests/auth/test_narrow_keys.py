"""A key that is narrowed to a highest priority: jobs above it are not its to touch, whatever is done to them."""

from typing import Any

import httpx
import pytest

from tests.api.problems import problem
from tests.api.test_job_actions import end, run
from tests.auth.conftest import MakeKey, bearer
from tests.fixtures.jobs import JobBook


async def submit(api: httpx.AsyncClient, key: str, priority: str, **fields: Any) -> str:
    body = {"task": "demo.echo", "priority": priority, "delay": 3600, **fields}
    answer = await api.post("/v1/jobs", json=body, headers=bearer(key))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


CHANGES: dict[str, Any] = {"cancel": None, "run-now": None, "replay": {"payload": {"n": 1}}, "": {"tags": ["x"]}}
"""What can be done to one job, with a body; an edit has no name."""


@pytest.mark.parametrize("action", CHANGES)
@pytest.mark.parametrize("status", ["PENDING", "FAILED"])
async def test_a_job_above_its_priority_is_not_its_to_change(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook, status: str, action: str
) -> None:
    wide, narrow = await make_key("operator"), await make_key("operator", max_priority="default")
    job = await submit(api, wide, "high")
    if status == "FAILED":
        await run(book, job)
        await end(book, job, "FAILED")
    before = (await api.get(f"/v1/jobs/{job}", headers=bearer(narrow))).json()
    path = f"/v1/jobs/{job}/{action}".rstrip("/")
    answer = await api.request("POST" if action else "PATCH", path, json=CHANGES[action], headers=bearer(narrow))
    assert problem(answer, "forbidden", 403)["detail"].endswith("no priority above default, and this is high")
    assert (await api.get(f"/v1/jobs/{job}", headers=bearer(narrow))).json() == before


async def test_a_job_that_was_raised_above_its_priority_is_out_of_reach(
    api: httpx.AsyncClient, make_key: MakeKey
) -> None:
    wide, narrow = await make_key("operator"), await make_key("operator", max_priority="low")
    job = await submit(api, narrow, "low")
    path = f"/v1/jobs/{job}"
    assert (await api.patch(path, json={"tags": ["mine"]}, headers=bearer(narrow))).status_code == 200
    problem(await api.patch(path, json={"priority": "default"}, headers=bearer(narrow)), "forbidden", 403)
    assert (await api.patch(path, json={"priority": "default"}, headers=bearer(wide))).status_code == 200
    problem(await api.patch(path, json={"priority": "low"}, headers=bearer(narrow)), "forbidden", 403)


@pytest.mark.parametrize("path", ["/v1/jobs/cancel", "/v1/jobs/replay", "/v1/dead-letter/replay"])
async def test_a_bulk_change_leaves_jobs_above_its_priority_alone(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook, path: str
) -> None:
    wide, narrow = await make_key("operator"), await make_key("operator", max_priority="default")
    jobs = {priority: await submit(api, wide, priority) for priority in ("high", "default", "low")}
    if path.endswith("replay"):
        for job in jobs.values():
            await run(book, job)
            await end(book, job, "FAILED")
    named = await api.post(path, json={"filter": {"priority": "high"}}, headers=bearer(narrow))
    problem(named, "forbidden", 403)
    before = (await api.get(f"/v1/jobs/{jobs['high']}", headers=bearer(wide))).json()
    answer = await api.post(path, json={"filter": {}}, headers=bearer(narrow))
    assert answer.json() == {"matched": 2, "changed": 2, "more": False}
    assert (await api.get(f"/v1/jobs/{jobs['high']}", headers=bearer(wide))).json() == before
