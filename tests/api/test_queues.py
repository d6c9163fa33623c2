"""Queues, tasks, workers and the figures over them."""

import json
from typing import Any
from uuid import uuid4

import httpx

from db import stats
from service.api.documents import QueueDocument, StatsDocument, TaskDocument, WorkerDocument
from service.version import server_version
from tests.api.problems import problem
from tests.api.test_job_actions import end, run, submit
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually


async def queues(api: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await api.get("/v1/queues")
    assert answer.status_code == 200
    for item in answer.json()["items"]:
        QueueDocument.model_validate(item)
        assert set(item) == set(QueueDocument.model_fields)
    return {item["queue"]: item for item in answer.json()["items"]}


async def worker(book: JobBook, *tasks: str, pool: str = "default", slots: int = 10) -> str:
    found = await book.execute(
        "INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots)"
        " VALUES ($1, $2, '{high,default}', $3, 'here', 7, '1', $4) RETURNING id",
        uuid4(),
        pool,
        json.dumps(dict.fromkeys(tasks, "echo-1")),
        slots,
    )
    return str(found)


async def test_every_queue_of_the_pool_default_is_listed_before_the_first_job(api: httpx.AsyncClient) -> None:
    found = await queues(api)
    assert list(found) == ["high", "default", "low"]
    numbers = ("ready", "scheduled", "held", "running", "workers", "slots", "slots_free")
    assert all(item[name] == 0 for item in found.values() for name in numbers)
    assert not any(item["paused"] for item in found.values())


async def test_jobs_are_counted_where_they_stand(api: httpx.AsyncClient, book: JobBook) -> None:
    await worker(book, "demo.echo")
    await worker(book, "demo.echo", pool="gpu", slots=3)
    await submit(api, priority="high")
    await submit(api, priority="high", delay=60)
    await submit(api, priority="low")  # nobody serves low
    await submit(api, pool="gpu")
    ran = await submit(api, priority="high")
    await run(book, ran["id"])
    found = await queues(api)
    assert list(found) == ["high", "default", "low", "gpu:high", "gpu:default", "gpu:low"]
    high = found["high"]
    # the test's claim leases every job from the queue `default`
    assert (high["ready"], high["scheduled"], high["held"]) == (1, 1, 0)
    assert (high["workers"], high["slots"], high["slots_free"]) == (1, 10, 10)
    assert high["oldest_ready_seconds"] >= 0
    assert high["arrivals_per_second"] == round(3 / 60, 3)
    assert (found["low"]["ready"], found["low"]["held"], found["low"]["oldest_ready_seconds"]) == (0, 1, None)
    assert (found["gpu:default"]["ready"], found["gpu:default"]["slots"]) == (1, 3)
    assert found["default"]["running"] == 1


async def test_a_paused_queue_holds_its_jobs_and_still_takes_new_ones(api: httpx.AsyncClient, book: JobBook) -> None:
    await worker(book, "demo.echo")
    await submit(api, priority="high")
    for reason in ("deploy", None):  # again changes nothing
        answer = await api.post("/v1/queues/high/pause", json={"reason": reason} if reason else None)
        found = answer.json()
        assert (found["paused"], found["pause_reason"], found["ready"], found["held"]) == (True, "deploy", 0, 1)
    await submit(api, priority="high")
    for _ in range(2):
        found = (await api.post("/v1/queues/high/resume")).json()
        assert (found["paused"], found["paused_at"], found["ready"]) == (False, None, 2)


async def test_a_queue_of_another_pool_has_its_pool_in_its_name(api: httpx.AsyncClient) -> None:
    found = (await api.post("/v1/queues/gpu:low/pause")).json()
    assert (found["queue"], found["pool"], found["priority"], found["paused"]) == ("gpu:low", "gpu", "low", True)
    assert (await queues(api))["gpu:low"]["paused"]
    for name in ("urgent", "gpu:", "GPU:low", "a:b:low", "%00:low", ":low", "::low", ":"):
        problem(await api.post(f"/v1/queues/{name}/pause"), "not-found", 404)
        problem(await api.post(f"/v1/queues/{name}/resume"), "not-found", 404)


async def test_the_catalogue_is_listed_with_schemas_and_defaults(api: httpx.AsyncClient, book: JobBook) -> None:
    await worker(book, "demo.echo")
    items = (await api.get("/v1/tasks")).json()["items"]
    assert [item["name"] for item in items] == ["demo.echo", "demo.sleep"]
    for item in items:
        TaskDocument.model_validate(item)
        assert set(item) == set(TaskDocument.model_fields)
    assert (items[0]["live"], items[1]["live"]) == (1, 0)
    sleep = (await api.get("/v1/tasks/demo.sleep")).json()
    assert sleep["payload_schema"]["required"] == ["seconds"]
    assert sleep["defaults"]["timeout"] == 12.5
    problem(await api.get("/v1/tasks/nobody"), "not-found", 404)


async def test_a_paused_task_holds_its_jobs(api: httpx.AsyncClient, book: JobBook) -> None:
    await worker(book, "demo.echo")
    await submit(api)
    for _ in range(2):
        found = (await api.post("/v1/tasks/demo.echo/pause", json={"reason": "provider down"})).json()
        assert (found["paused"], found["pause_reason"]) == (True, "provider down")
    assert (await queues(api))["default"]["held"] == 1
    assert (await api.post("/v1/tasks/demo.echo/resume")).json()["paused"] is False
    assert (await queues(api))["default"]["ready"] == 1
    problem(await api.post("/v1/tasks/nobody/pause"), "not-found", 404)
    problem(await api.post("/v1/tasks/nobody/resume"), "not-found", 404)


async def test_living_workers_are_listed_and_can_be_drained(api: httpx.AsyncClient, book: JobBook) -> None:
    worker_id = await worker(book, "demo.echo", "demo.sleep")
    (item,) = (await api.get("/v1/workers")).json()["items"]
    WorkerDocument.model_validate(item)
    assert set(item) == set(WorkerDocument.model_fields)
    assert (item["id"], item["tasks"], item["draining"]) == (worker_id, ["demo.echo", "demo.sleep"], False)
    assert (await api.post(f"/v1/workers/{worker_id}/drain")).json()["draining"] is True
    problem(await api.post(f"/v1/workers/{uuid4()}/drain"), "not-found", 404)
    problem(await api.post("/v1/workers/nobody/drain"), "not-found", 404)


async def test_the_figures_agree_with_the_jobs(api: httpx.AsyncClient, book: JobBook) -> None:
    await worker(book, "demo.echo")
    for status in ("SUCCESS", "SUCCESS", "FAILED"):
        job = await submit(api)
        await run(book, job["id"])
        await end(book, job["id"], status)
    await submit(api)
    found = (await api.get("/v1/stats")).json()
    StatsDocument.model_validate(found)
    assert set(found) == set(StatsDocument.model_fields)
    assert found["jobs"] == {
        "WAITING": 0,
        "PENDING": 1,
        "RUNNING": 0,
        "RETRYING": 0,
        "SUCCESS": 2,
        "FAILED": 1,
        "CANCELLED": 0,
    }
    assert found["jobs_estimated"] is False
    assert found["queues"]["default"]["ready"] == 1
    assert found["queues"]["default"]["finishes_per_second"] == round(3 / 60, 3)
    echo = found["tasks"]["demo.echo"]
    assert (echo["ready"], echo["succeeded"], echo["failed"], echo["live"]) == (1, 2, 1, 1)
    recent = found["last_5_minutes"]
    assert (recent["submitted"], recent["succeeded"], recent["failed"]) == (4, 2, 1)
    assert 0 <= recent["wait_p50"] <= recent["wait_p95"]
    assert 0 <= recent["run_p50"] <= recent["run_p95"]
    assert found["workers"] == 1


async def test_figures_are_renewed(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/stats")).json()["jobs"]["PENDING"] == 0
    await submit(api)

    async def seen() -> bool:
        return bool((await api.get("/v1/stats")).json()["jobs"]["PENDING"] == 1)

    await eventually(seen)


async def test_figures_of_an_empty_deployment_are_zero(api: httpx.AsyncClient) -> None:
    found = (await api.get("/v1/stats")).json()
    assert sum(found["jobs"].values()) == 0
    assert found["last_5_minutes"]["wait_p50"] is None
    assert (await api.get("/v1/version")).json() == {"version": server_version(), "api": "v1"}


async def test_a_burst_larger_than_the_sample_is_not_taken_for_the_pace_of_five_minutes(api: httpx.AsyncClient) -> None:
    jobs = [{"task": "demo.echo", "priority": ("high", "low")[n % 2]} for n in range(stats.ARRIVED_SAMPLE + 1_000)]
    assert (await api.post("/v1/jobs/batch", json={"jobs": jobs})).status_code == 202
    found = (await api.get("/v1/stats")).json()
    assert found["last_5_minutes"]["submitted"] == len(jobs)
    for queue in ("high", "low"):
        assert found["queues"][queue]["arrivals_per_second"] == round(len(jobs) / 2 / 60, 3)
