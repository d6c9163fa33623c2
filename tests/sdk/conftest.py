"""A server of the tests' own making: answers in a row, and the requests it got."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Script = Callable[[httpx.Request], httpx.Response] | Exception | httpx.Response


def job_json(**changes: Any) -> dict[str, Any]:
    """A job as the API answers it."""
    return {
        "id": "job-1",
        "task": "demo.echo",
        "status": "PENDING",
        "payload": {},
        "errors": [],
        "error": None,
    } | changes


def answer(status: int, body: Any = None, **headers: str) -> httpx.Response:
    """A JSON answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=names)


def problem(status: int, code: str, detail: str = "no", **more: Any) -> httpx.Response:
    """A problem document."""
    headers = {name.replace("_", "-"): more.pop(name) for name in ("retry_after", "date") if name in more}
    document = {"type": f"/problems/{code}", "title": code, "status": status, "code": code, "detail": detail} | more
    return httpx.Response(status, json=document, headers={"X-Request-Id": "req-7"} | headers)


class Scripted:
    """A transport of httpx, sync and async, that plays one entry for each request; the last one again and again."""

    def __init__(self, *script: Script) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(entry, Exception):
            raise entry
        if callable(entry):
            return entry(request)
        return httpx.Response(entry.status_code, content=entry.content, headers=entry.headers)

    @property
    def transport(self) -> httpx.MockTransport:
        """For either client."""
        return httpx.MockTransport(self)

    @property
    def bodies(self) -> list[Any]:
        """The JSON of each request."""
        return [json.loads(request.content) for request in self.requests]

    def header(self, name: str) -> list[str | None]:
        """One header of each request."""
        return [request.headers.get(name) for request in self.requests]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses a client makes, which take no time."""
    made: list[float] = []
    real = asyncio.sleep

    async def asleep(seconds: float) -> None:
        made.append(seconds)
        await real(0)

    monkeypatch.setattr("errander._wire.asyncio.sleep", asleep)
    monkeypatch.setattr("errander._runner.drive", _driver(made))
    return made


def _driver(made: list[float]) -> Callable[..., Any]:
    from errander._wire import drive

    return lambda flow, transport: drive(flow, transport, made.append)
