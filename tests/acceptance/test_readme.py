"""The README's commands, as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.supervise import free_port
from tests.fixtures.dev import DevProcess
from tests.fixtures.servers import Databases, open_folder
from tests.fixtures.waiting import eventually_sync

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"<!-- test: ([a-z-]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = {name: text for name, _, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}


def test_every_block_that_claims_to_be_tested_is() -> None:
    assert set(BLOCKS) == {
        "start", "submit", "command", "dead-letter", "sdk", "own-task", "own-run", "own-submit", "compose",
        "network", "service-key", "addresses",
    }  # fmt: skip
    # these two are run by `dev_server` below and by `make compose-test`
    assert BLOCKS["start"] == "make dev\n"
    assert BLOCKS["compose"] == "docker compose up --build\n"


def shell(script: str, folder: Path, **env: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def environment(dev_server: DevProcess) -> dict[str, str]:
    return {"PATH": f"{BIN}:{os.environ['PATH']}"}


def at(server: DevProcess, name: str) -> str:
    """The block, with the address and the environment of this test's server."""
    text: str = BLOCKS[name]
    return text.replace("http://127.0.0.1:8000", server.url).replace("source .venv/bin/activate\n", "")


def test_curl_submits_a_job(dev_server: DevProcess, environment: dict[str, str]) -> None:
    assert '"status":"SUCCESS"' in shell(at(dev_server, "submit"), dev_server.folder, **environment).replace(" ", "")


def test_the_command_finds_the_server_and_operates_it(dev_server: DevProcess, environment: dict[str, str]) -> None:
    said = shell(at(dev_server, "command"), dev_server.folder, **environment)
    assert "SUCCESS" in said
    said = shell(at(dev_server, "dead-letter"), dev_server.folder, **environment)
    assert "demo.fail" in said
    addresses = at(dev_server, "addresses")
    assert "ok    schema: " in shell(addresses, dev_server.folder, **environment)
    for fsck in ("errander fsck", f"{addresses.splitlines()[0]}\nerrander fsck --full"):
        assert json.loads(shell(fsck, dev_server.folder, **environment))["clean"] is True


def test_the_sdk_example_runs(dev_server: DevProcess, environment: dict[str, str]) -> None:
    (dev_server.folder / "example.py").write_text(BLOCKS["sdk"])
    said = shell(f"{sys.executable} example.py", dev_server.folder, ERRANDER_URL=dev_server.url, **environment)
    assert "1000 jobs, the last one: {'n': 999}" in said


def test_the_own_task_runs() -> None:
    assert BLOCKS["own-run"] == "$ERRANDER/.venv/bin/errander dev --tasks hello\n"
    with open_folder() as folder:
        (folder / "hello.py").write_text(BLOCKS["own-task"])
        with DevProcess(folder, "--tasks", "hello", "--port", str(free_port())) as server:
            server.ready()
            script = BLOCKS["own-submit"].replace("$ERRANDER/.venv/bin/errander", str(BIN / "errander"))
            said = shell(script, folder)
            assert "Hello, stranger! Hello, stranger!" in said


def test_an_api_for_a_network_starts_with_its_first_key(databases: Databases, redis_url: str) -> None:
    *before, serve = BLOCKS["network"].splitlines()
    port = free_port()
    name = databases.create()
    env = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DATABASE_URL": databases.server.url_of(name),
        "REDIS_URL": redis_url,
        "ERRANDER_URL": f"http://127.0.0.1:{port}",
    }
    with open_folder() as folder:
        *_, token = shell("\n".join([*before, "echo $ERRANDER_TOKEN"]), folder, **env).split()
        # listens on this machine only, because a test opens no port to a network
        command = [*serve.replace("0.0.0.0", "127.0.0.1").split(), "--port", str(port)]
        command[0] = str(BIN / command[0])
        with subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stderr=subprocess.DEVNULL) as server:
            try:
                eventually_sync(lambda: is_ready(env["ERRANDER_URL"]), timeout=60)
                made = shell(BLOCKS["service-key"], folder, ERRANDER_TOKEN=token, **env).strip()
                answer = httpx.post(
                    f"{env['ERRANDER_URL']}/v1/jobs",
                    json={"task": "email.send", "payload": {}, "priority": "high"},
                    headers={"Authorization": f"Bearer {made}"},
                )
                assert answer.status_code in (403, 422), "known, and narrowed"
                assert httpx.get(f"{env['ERRANDER_URL']}/v1/jobs").status_code == 401
            finally:
                server.terminate()
    databases.drop(name)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
