"""Known secrets are put wherever a client or a task can put any; then Redis and every log are searched for them.

One `errander dev` of its own, with authentication, writing everything it ever writes.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from service.supervise import free_port
from tests.acceptance.test_authentication import KEY
from tests.fixtures.dev import DevProcess
from tests.fixtures.servers import open_folder
from tests.fixtures.waiting import eventually_sync

TASKS = """
import logging
from errander import Context, task

@task("vault.keep")
async def keep(ctx: Context, card: str, then: str = "return") -> dict[str, str]:
    ctx.progress(1, 2, f"canary-progress {card}")
    ctx.log.info("calling", authorization="Bearer canary-header", url="https://u:canary-password@h/x")
    logging.getLogger("httpx").info("HTTP Request: GET https://h/?q=canary-query")
    if then == "raise":
        raise RuntimeError(f"canary-error cannot reach postgresql://u:canary-address@h/d with {card}")
    if then == "strange":
        return {"card": card, "what": type("canary-type", (), {})()}
    return {"kept": f"canary-result {card}"}

@task("vault.child", executor="process")
def child(card: str) -> str:
    logging.getLogger("vault").warning("in a child: password=canary-logged")
    raise RuntimeError(f"canary-child {card}")
"""
CANARY = "canary-"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnktand0In0.canary-signature"


@pytest.fixture(scope="module")
def canaries() -> Iterator["Stack"]:
    """A running stack that has been told secrets, and has ended what it was asked to do."""
    with open_folder() as folder:
        (folder / "vault.py").write_text(TASKS)
        settings = {"ERRANDER_AUTH": "required", "ERRANDER_LOG_LEVEL": "debug"}
        options = ("--tasks", "vault", "--port", str(free_port()))
        with DevProcess(folder, *options, env=settings) as server:
            stack = Stack(server.ready())
            with stack.overheard():
                stack.tell()
                stack.fail()
            yield stack


class Stack:
    """`errander dev`, and what was said to its Redis."""

    def __init__(self, server: DevProcess) -> None:
        self.server = server
        (self.key,) = KEY.findall(server.output)
        self.redis_url = server.env_file()["REDIS_URL"]
        self.commands: list[str] = []
        self.jobs: dict[str, Any] = {}

    @property
    def secrets(self) -> dict[str, str]:
        """What must not be found, by what it is."""
        addresses = {name: server for name, server in self.server.env_file().items() if name.endswith("_URL")}
        passwords = {name: urlsplit(url).password for name, url in addresses.items()}
        found = {name: password for name, password in passwords.items() if password}
        assert len(found) == 2
        return {"a canary": CANARY, "the key": self.key.split("_")[2], "a token": TOKEN, **found}

    @contextlib.contextmanager
    def overheard(self) -> Iterator[None]:
        """Keeps every command that Redis is sent meanwhile."""
        client: Any = redis.Redis.from_url(self.redis_url)  # its stubs leave the monitor out
        with client, client.monitor() as monitor:

            def listen() -> None:
                with contextlib.suppress(redis.exceptions.RedisError, OSError, ValueError):
                    while True:
                        self.commands.append(str(monitor.next_command()))

            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            yield
            monitor.connection.disconnect()
            listener.join(5)

    def tell(self) -> None:
        """Jobs, requests and mistakes with secrets in them."""
        headers = {"Authorization": f"Bearer {self.key}", "Cookie": "session=canary-cookie"}
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=40) as http:
            job = {
                "task": "vault.keep",
                "payload": {"card": "canary-payload"},
                "metadata": {"canary-name": "canary-metadata"},
                "tags": ["canary-tag"],
                "max_attempts": 1,
            }
            keyed = {"Idempotency-Key": "canary-idempotency"}
            for name, change in {
                "SUCCESS": {},
                "raised": {"then": "raise"},
                "strange": {"then": "strange"},
            }.items():
                body = {**job, "payload": {"card": "canary-payload", **change}}
                answer = http.post("/v1/jobs?wait=20", json=body, headers=keyed if name == "SUCCESS" else {})
                assert answer.status_code == 200, answer.text
                self.jobs[name] = answer.json()
            answer = http.post("/v1/jobs?wait=20", json={**job, "task": "vault.child"})
            self.jobs["child"] = answer.json()
            later = http.post("/v1/jobs", json={**job, "delay": 50}).json()
            assert http.post(f"/v1/jobs/{later['id']}/cancel", json={"reason": "canary-reason"}).status_code == 200
            batch = http.post("/v1/jobs/batch", json={"jobs": [{**job, "idempotency_key": "canary-item"}]})
            assert batch.status_code == 202, batch.text
            found = http.get(
                "/v1/jobs", params={"payload.card": "canary-payload", "metadata.canary-name": "canary-metadata"}
            )
            assert len(found.json()["items"]) >= 5
            self.mistakes(http)

    def mistakes(self, http: httpx.Client) -> None:
        """Requests that are refused, each with a secret in it."""
        refused = [
            http.post("/v1/jobs", json={"task": "vault.keep", "payload": {"card": ["canary-wrong"]}}),
            http.post("/v1/jobs", content=b'{"task": "canary-broken', headers={"Content-Type": "application/json"}),
            http.post("/v1/jobs", json={"task": "vault.keep", "payload": {"card": "canary-nul\x00"}}),
            http.get("/v1/jobs", params={"canary-parameter": "canary-value"}),
            http.get("/v1/jobs", params={"cursor": "canary-cursor"}),
            http.get("/v1/jobs", headers={"Authorization": f"Bearer {TOKEN}"}),
            http.get("/v1/jobs", headers={"Authorization": f"Bearer {self.key[:-1]}x"}),
            http.get("/v1/jobs", headers={"Authorization": "Basic canary-basic"}),
        ]
        assert {answer.status_code // 100 for answer in refused} == {4}

    def fail(self) -> None:
        """Redis dies, and every process says so."""
        before = self.server.parts()["valkey"]
        before.kill()
        eventually_sync(lambda: self.server.is_another("valkey", before), 40)
        eventually_sync(self.is_back, 40)

    def is_back(self) -> bool:
        """Whether Redis answers again."""
        with contextlib.suppress(redis.exceptions.RedisError), redis.Redis.from_url(self.redis_url) as client:
            return bool(client.ping())
        return False

    def logs(self) -> dict[str, str]:
        """Everything that any of its processes wrote, by file, and what it said itself but for the key it shows once."""
        files = [path for path in self.server.data.rglob("*") if path.name.endswith(".log") or path.name == "log"]
        texts = {str(path.relative_to(self.server.data)): path.read_text(errors="replace") for path in files}
        return texts | {"its own output": self.server.output.replace(self.key, "", 1)}


def test_the_secrets_did_what_secrets_do(canaries: Stack) -> None:
    """They are kept, answered and shown to whoever may see the job: what follows looks for something that was there."""
    job = canaries.jobs["SUCCESS"]
    assert (job["status"], job["result"]) == ("SUCCESS", {"kept": "canary-result canary-payload"})
    assert "canary-error" in canaries.jobs["raised"]["error"]["message"]
    assert canaries.jobs["strange"]["error"]["kind"] == "result"
    assert "canary-child" in canaries.jobs["child"]["error"]["message"]


def test_no_secret_stands_in_redis_or_was_ever_sent_to_it(canaries: Stack) -> None:
    assert any(canaries.jobs["SUCCESS"]["id"] in command for command in canaries.commands), "the ids were overheard"
    with redis.Redis.from_url(canaries.redis_url) as client:
        kept = {key: whole(client, key) for key in client.scan_iter()}
    for what, secret in canaries.secrets.items():
        assert [command for command in canaries.commands if secret in command] == [], what
        assert [key for key, value in kept.items() if secret in f"{key!r} {value}"] == [], what


def test_no_secret_stands_in_any_log(canaries: Stack) -> None:
    logs = canaries.logs()
    everything = "\n".join(logs.values())
    assert {Path(name).name for name in logs} >= {"api.log", "worker-1.log"}
    assert "request.answered" in everything, "the level is debug"
    assert "redis_away" in everything
    assert "in a child: password=***" in everything
    assert "https://u:***@h/x" in everything
    for what, secret in canaries.secrets.items():
        found = [f"{name}: {line}" for name, text in logs.items() for line in text.splitlines() if secret in line]
        assert found == [], what


def whole(client: Any, key: bytes) -> str:
    """The value of a key, of whatever type."""
    read: dict[bytes, Callable[[], object]] = {
        b"string": lambda: client.get(key),
        b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"set": lambda: client.smembers(key),
        b"stream": lambda: client.xrange(key),
        b"none": lambda: None,
    }
    return json.dumps(read[client.type(key)](), default=repr)
