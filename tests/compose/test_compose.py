"""The stack of `compose.yaml`, for real: `make compose-test`. Skips loudly where no Docker engine answers."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.supervise import free_port
from tests.fixtures.waiting import eventually_sync

ROOT = Path(__file__).parents[2]

OWN_TASK = """
from errander import task

@task("own.double")
async def double(n: int) -> int:
    return 2 * n
"""

OWN_IMAGE = """
FROM errander
COPY own.py /tasks/
ENV ERRANDER_TASKS=own
CMD ["arq", "workers.DefaultSettings"]
"""


def engine_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@dataclass
class Compose:
    """One project of docker compose, with a name and a port of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    project: str = field(default_factory=lambda: f"errander-test-{uuid.uuid4().hex[:8]}")

    def __call__(self, *words: str, timeout: float = 400) -> str:
        command = ["docker", "compose", "-p", self.project, "-f", str(ROOT / "compose.yaml"), "-f", str(self.override)]
        done = subprocess.run(
            [*command, "--project-directory", str(ROOT), *words],
            env={**os.environ, "ERRANDER_PORT": str(self.port)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    @property
    def override(self) -> Path:
        """The user's task in place of ./tasks, and a worker from an image of the user's own in a pool of its own."""
        path = self.folder / "override.json"
        if not path.exists():
            tasks = [{"type": "bind", "source": str(self.folder), "target": "/tasks", "read_only": True}]
            services: dict[str, Any] = {
                name: {"volumes": tasks, "environment": {"ERRANDER_TASKS": "own"}}
                for name in ("migrate", "api", "worker-high", "worker-default", "worker-low")
            }
            services["worker-own"] = {
                "image": f"{self.project}-own",
                "environment": {
                    "DATABASE_URL_FILE": "/run/errander/database_url",
                    "REDIS_URL_FILE": "/run/errander/redis_url",
                    "ERRANDER_POOL": "own",
                },
                "volumes": ["secrets:/run/errander:ro"],
                "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
                "networks": ["stores"],
                "stop_grace_period": "40s",
            }
            path.write_text(json.dumps({"services": services}))
        return path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def submit(self, task: str, payload: dict[str, Any], *, wait: int = 0, **fields: Any) -> Any:
        answer = httpx.post(
            self.url("/v1/jobs"), params={"wait": wait}, json={"task": task, "payload": payload, **fields}, timeout=60
        )
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def job(self, job_id: str) -> Any:
        answer = httpx.get(self.url(f"/v1/jobs/{job_id}"), params={"wait": 20}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    if not engine_answers():
        print("\n*** SKIPPED: no Docker engine answers; the compose stack is not tested ***")
        pytest.skip("no Docker engine answers")
    folder = tmp_path_factory.mktemp("own")
    folder.chmod(0o755)
    (folder / "own.py").write_text(OWN_TASK)
    (folder / "own.py").chmod(0o644)
    (folder / "Dockerfile").write_text(OWN_IMAGE)
    compose = Compose(folder)
    try:
        compose("build", "init")
        subprocess.run(
            ["docker", "build", "-q", "-t", f"{compose.project}-own", str(folder)],
            check=True,
            timeout=120,
            stdout=subprocess.DEVNULL,
        )
        compose("up", "--build", "--detach", "--wait", "--wait-timeout", "180")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "45")
        subprocess.run(["docker", "rmi", "-f", f"{compose.project}-own"], check=False, capture_output=True, timeout=60)


@pytest.mark.timeout(600)
def test_every_priority_runs(stack: Compose) -> None:
    for priority in ("high", "default", "low"):
        job = stack.submit("demo.echo", {"priority": priority}, priority=priority, wait=20)
        assert (job["status"], job["result"]) == ("SUCCESS", {"priority": priority})


@pytest.mark.timeout(600)
def test_a_mounted_task_runs(stack: Compose) -> None:
    assert stack.submit("own.double", {"n": 21}, wait=20)["result"] == 42


@pytest.mark.timeout(600)
def test_an_image_made_from_ours_runs_its_own_task(stack: Compose) -> None:
    assert stack.submit("own.double", {"n": 4}, pool="own", wait=20)["result"] == 8


@pytest.mark.timeout(600)
def test_the_stores_are_not_published(stack: Compose) -> None:
    listed = [json.loads(line) for line in stack("ps", "--format", "json").splitlines()]
    published = {
        service["Service"]: [port["PublishedPort"] for port in service["Publishers"] or [] if port["PublishedPort"]]
        for service in listed
    }
    assert published.pop("api") == [stack.port]
    assert not any(published.values())


@pytest.mark.timeout(600)
def test_killing_valkey_and_a_worker_loses_nothing(stack: Compose) -> None:
    running = stack.submit("demo.sleep", {"seconds": 3})
    eventually_sync(lambda: stack.job(running["id"])["status"] in ("RUNNING", "SUCCESS"), 20)
    waiting = [stack.submit("demo.sleep", {"seconds": 0.2}, delay=1)["id"] for _ in range(20)]
    stack("kill", "--signal", "SIGKILL", "valkey")
    away = [stack.submit("demo.echo", {"n": n})["id"] for n in range(20)]
    stack("kill", "--signal", "SIGKILL", "worker-default")
    killed = time.monotonic()
    stack("up", "--detach", "--wait", "--wait-timeout", "120", "valkey", "worker-default")
    for job_id in [running["id"], *waiting, *away]:
        eventually_sync(lambda job_id=job_id: stack.job(job_id)["status"] == "SUCCESS", 60)  # type: ignore[misc]
    assert time.monotonic() - killed < 90
