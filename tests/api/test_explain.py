"""Why a job is not running, as the API says it."""

import socket
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from db import jobs, queues, tasks
from db.engine import Database
from db.tasks import Announcement
from service.api.explain import ExplanationDocument
from service.main import create_app
from tests.api.conftest import running, settings_for
from tests.api.problems import problem
from tests.db.counting import mark
from tests.db.scene import TASK, Scene


@pytest.fixture
def scene(database: Database) -> Scene:
    """Jobs and workers behind the API's back."""
    return Scene(database)


async def explain(api: httpx.AsyncClient, job: UUID) -> dict[str, Any]:
    answer = await api.get(f"/v1/jobs/{job}/explain")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    ExplanationDocument.model_validate(found)
    assert set(found) == set(ExplanationDocument.model_fields)
    assert found["summary"] == found["reasons"][0]["message"]
    return found


async def codes(api: httpx.AsyncClient, job: UUID) -> list[str]:
    return [reason["code"] for reason in (await explain(api, job))["reasons"]]


async def test_a_job_is_explained_through_its_life(api: httpx.AsyncClient, scene: Scene) -> None:
    job = await scene.job()
    assert await codes(api, job) == ["no-worker"]
    worker = await scene.worker()
    assert await codes(api, job) == ["next"]
    await tasks.announce(scene.link, [Announcement(TASK, "hash", {})])
    await tasks.pause(scene.link, TASK, "broken")
    await queues.pause(scene.link, "default", "default", "deploy")
    assert await codes(api, job) == ["queue-paused", "task-paused"]
    await tasks.resume(scene.link, TASK)
    await queues.resume(scene.link, "default", "default")
    await scene.claim(worker, job)
    found = await explain(api, job)
    assert (found["running"], found["reasons"][0]["worker"]) == (True, str(worker))
    await scene.finish("snooze", worker, (job, 1), delays=60.0)
    assert await codes(api, job) == ["scheduled"]
    async with scene.database.begin() as link:
        await jobs.cancel(link, "default", [job], "twice")
    (reason,) = (await explain(api, job))["reasons"]
    assert (reason["code"], reason["cancelled_by"], reason["reason"]) == ("final", "client", "twice")


async def test_the_place_is_among_jobs_that_can_start(api: httpx.AsyncClient, scene: Scene) -> None:
    await scene.worker(tasks=[TASK, "other", "paused"])
    await tasks.announce(scene.link, [Announcement("paused", "hash", {})])
    await tasks.pause(scene.link, "paused", None)
    for n in range(12):
        await scene.job(run_in=-60.0 - n)
    await scene.job(task="other", run_in=-60.0, tenant="other")
    beside: list[dict[str, Any]] = [
        {"run_in": -10.0},  # later than ours
        {"run_in": 60.0},
        {"run_in": -60.0, "priority": "high"},
        {"run_in": -60.0, "pool": "gpu"},
        {"run_in": -60.0, "task": "nobody"},
        {"run_in": -60.0, "task": "paused"},
        {"run_in": -60.0, "expires_in": -1.0},
    ]
    for columns in beside:
        await scene.job(**columns)
    ours = await scene.job(run_in=-30.0)
    found = await explain(api, ours)
    assert (found["position"], found["position_exact"]) == (14, True)
    assert (found["reasons"][0]["code"], found["reasons"][0]["before"]) == ("behind-others", 13)


async def test_the_measured_rate_foretells_the_start(api: httpx.AsyncClient, scene: Scene) -> None:
    await mark(scene, "now() - interval '7 days'")
    worker = await scene.worker()
    for _ in range(10):
        await scene.job("RUNNING", worker=worker)
    for n in range(120):
        await scene.job("SUCCESS", worker=worker, attempt=1, finished_ago=n / 4.0)
    await scene.job(run_in=-60.0)
    ours = await scene.job(run_in=-30.0)
    found = await explain(api, ours)
    assert [reason["code"] for reason in found["reasons"]] == ["behind-others", "all-slots-busy"]
    assert found["drain_per_second"] == 2.0
    assert found["at"] < found["estimated_start"]["p50"] < found["estimated_start"]["p90"]


async def test_redis_away_is_said_beside(database_url: str, scene: Scene) -> None:
    job = await scene.job()
    await scene.worker()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{closed.getsockname()[1]}"
        async with running(create_app(settings_for(database_url, nowhere))) as api:
            assert await codes(api, job) == ["next", "redis-away"]


async def test_a_foreign_job_is_not_found(api: httpx.AsyncClient, scene: Scene) -> None:
    for job in (uuid4(), await scene.job(tenant="other")):
        problem(await api.get(f"/v1/jobs/{job}/explain"), "not-found", 404)
    problem(await api.get(f"/v1/jobs/{job}/explain?verbose=1"), "validation-failed", 422)
