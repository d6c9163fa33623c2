"""What stays over a restart, what a fresh start without workers knows, and how priorities share one slot."""

import os
import subprocess
from pathlib import Path
from typing import Any

import httpx

from service.supervise import free_port
from tests.fixtures.dev import ERRANDER, DevProcess
from tests.fixtures.servers import open_folder
from tests.fixtures.waiting import eventually_sync


def post(server: DevProcess, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=40, **options)


def get(server: DevProcess, path: str, **params: Any) -> Any:
    answer = httpx.get(f"{server.url}{path}", params=params, timeout=40)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_finished_and_scheduled_jobs_are_there_after_a_restart() -> None:
    with open_folder() as folder:
        with DevProcess(folder, "--port", str(free_port())) as server:
            server.ready()
            done = post(server, "/v1/jobs?wait=20", {"task": "demo.echo", "payload": {"kept": True}}).json()
            later = post(server, "/v1/jobs", {"task": "demo.echo", "delay": 3600}).json()
            assert done["status"] == "SUCCESS"
            assert server.stop() == 0
        with DevProcess(folder, "--port", str(free_port())) as server:
            server.ready()
            assert get(server, f"/v1/jobs/{done['id']}") == done
            assert get(server, f"/v1/jobs/{later['id']}")["run_at"] == later["run_at"]
            assert post(server, f"/v1/jobs/{later['id']}/run-now", {}).status_code == 200
            assert get(server, f"/v1/jobs/{later['id']}", wait=20)["status"] == "SUCCESS"


def test_a_fresh_start_without_workers_knows_its_tasks_and_one_slot_is_shared_by_weight() -> None:
    with open_folder() as folder, DevProcess(folder, "--port", str(free_port()), "--workers", "0") as server:
        server.ready()
        answer = post(server, "/v1/jobs", {"task": "demo.ecko"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-task")
        assert "demo.echo" in answer.json()["similar"]
        for priority in ("low", "default", "high"):
            body = {"jobs": [{"task": "demo.echo", "priority": priority} for _ in range(100)]}
            assert post(server, "/v1/jobs/batch", body).status_code == 202
        with worker(server, folder, "--slots", "1"):
            eventually_sync(lambda: not get(server, "/v1/stats")["jobs"].get("PENDING"), 60)
        jobs = [job for page in pages(server, limit=200) for job in page]
        assert len(jobs) == 300
        first = [job["priority"] for job in sorted(jobs, key=lambda job: job["started_at"])[:50]]
        counts = {priority: first.count(priority) for priority in ("high", "default", "low")}
        assert abs(counts["high"] - 30) <= 1
        assert abs(counts["default"] - 15) <= 1
        assert abs(counts["low"] - 5) <= 1


def pages(server: DevProcess, **params: Any) -> Any:
    cursor: dict[str, Any] = {}
    while True:
        page = get(server, "/v1/jobs", **params, **cursor)
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


class worker:  # noqa: N801 - used as a function
    """`errander worker` in another shell, with what `errander dev` wrote for it."""

    def __init__(self, server: DevProcess, folder: Path, *options: str) -> None:
        environment = {**os.environ, **server.env_file(), "ERRANDER_METRICS_PORT": "0"}
        self.process = subprocess.Popen([ERRANDER, "worker", *options], cwd=folder, env=environment)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        assert self.process.wait(40) == 0
