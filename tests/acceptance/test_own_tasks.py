"""A project of a user's own, outside the repository, that depends on `errander` only."""

import subprocess
import sys
from pathlib import Path

import httpx

from service.supervise import free_port
from tests.fixtures.dev import DevProcess
from tests.fixtures.servers import open_folder
from tests.fixtures.waiting import eventually_sync

TASKS = """
from errander import Context, task
from billing import rate

@task("shop.total", timeout=10)
async def total(ctx: Context, prices: list[float]) -> dict[str, float]:
    return {"total": sum(prices) * rate()}

@task("shop.fast", executor="process")
def fast(n: int) -> int:
    return n * n
"""


def run(server: DevProcess, task: str, payload: dict[str, object]) -> object:
    answer = httpx.post(f"{server.url}/v1/jobs?wait=20", json={"task": task, "payload": payload}, timeout=40)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "SUCCESS", answer.text
    return answer.json()["result"]


def write_project(folder: Path, rate: int) -> None:
    (folder / "billing.py").write_text(f"def rate() -> int:\n    return {rate}\n")
    (folder / "shop.py").write_text(TASKS)


def test_a_project_runs_and_reloads_on_save_though_it_has_a_package_named_like_ours() -> None:
    with open_folder() as folder:
        write_project(folder, rate=1)
        (folder / "db").mkdir()
        (folder / "db" / "__init__.py").write_text("raise RuntimeError('a user has a db of their own')\n")
        with DevProcess(folder, "--tasks", "shop", "--port", str(free_port())) as server:
            server.ready()
            assert run(server, "shop.total", {"prices": [1, 2]}) == {"total": 3.0}
            assert run(server, "shop.fast", {"n": 12}) == 144
            refused = httpx.post(
                f"{server.url}/v1/jobs", json={"task": "shop.total", "payload": {"prices": [1, "x"]}}, timeout=40
            )
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/payload/prices/1")
            before = server.parts()["worker-1"]
            write_project(folder, rate=10)
            eventually_sync(lambda: server.is_another("worker-1", before), 40)
            eventually_sync(lambda: run(server, "shop.total", {"prices": [1, 2]}) == {"total": 30.0}, 40)


def test_the_island_needs_nothing_of_the_server() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import errander; from errander import task, AsyncClient, Client\n"
        "assert not {'service', 'workers', 'db'} & set(sys.modules), 'the server was imported'\n"
        "assert not {'fastapi', 'sqlalchemy', 'redis', 'arq', 'asyncpg'} & set(sys.modules)"
    )
    sdk = Path(__file__).parents[2] / "service" / "sdk"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(sdk)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
