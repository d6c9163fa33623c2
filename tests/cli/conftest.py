"""The client commands run against an API in memory behind a real socket."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from errander import Call, Fail, Registry, task
from errander._cli import main
from errander.testing import FakeErrander

OWN = Registry()


@task("demo.add", registry=OWN)
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@task("demo.fail", registry=OWN)
def fail(message: str = "no") -> None:
    raise Fail(message)


class Api:
    """A `FakeErrander` on a loopback port; `replies` answers what that does not speak."""

    def __init__(self) -> None:
        self.fake = FakeErrander(OWN)
        self.replies: dict[str, tuple[int, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Quiet."""

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length) or None
                status, headers, body = api.answer(self.command, self.path, content, dict(self.headers))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PATCH = do_GET  # noqa: N815

        return Handler

    def answer(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        self.requests.append((method, target, json.loads(content) if content else None))
        known = self.replies.get(parts.path)
        if known is not None:
            status, value = known
            return status, {"content-type": "application/json", "x-request-id": "req-9"}, json.dumps(value).encode()
        keys = {name.title(): value for name, value in headers.items()}
        call = Call(method, parts.path, tuple(parse_qsl(parts.query)), content, keys)
        answer = self.fake.send(call)
        return answer.status, dict(answer.headers), answer.content


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """An API whose address the commands find in the environment; the current folder is empty."""
    made = Api()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERRANDER_URL", made.url)
    yield made
    made.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> None:
    """Addresses of a migrated database and of Redis."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command: exit code, what it printed, what it said."""

    def go(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output looks like a terminal."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _self: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def submit(run: Run, *words: str) -> str:
    code, out, _ = run("job", "submit", *words, "-o", "id")
    assert code == 0
    return out.strip()
