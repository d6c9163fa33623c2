"""What a tenant learns from `/v1/consistency`: how much is broken, and which of its own jobs."""

from typing import Any

import httpx

from tests.auth.conftest import MakeKey, bearer
from tests.fixtures.jobs import JobBook


async def test_only_ones_own_jobs_are_named_and_all_are_counted(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    own: dict[str, str] = {}
    for tenant in ("acme", "other"):
        key = await make_key("submitter", tenant=tenant)
        own[tenant] = (await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(key))).json()["id"]
    await book.execute("DELETE FROM errander.ready")
    await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('typo')")
    # the history of a job that is gone: nobody's any more
    await book.execute(
        "INSERT INTO errander.history (job_id, event, status, attempt) VALUES (gen_random_uuid(), 'failed', 'FAILED', 1)"
    )

    async def seen(tenant: str) -> dict[str, tuple[int, list[str]]]:
        answer = await api.get("/v1/consistency", headers=bearer(await make_key("viewer", tenant=tenant)))
        findings: list[dict[str, Any]] = answer.json()["findings"]
        return {one["code"]: (one["count"], one["examples"]) for one in findings}

    for tenant, named in (("acme", [own["acme"]]), ("other", [own["other"]]), ("third", [])):
        assert await seen(tenant) == {
            "ready-missing": (2, named),
            "history-orphaned": (1, []),
            "pause-unknown": (1, ["typo"]),
        }
