"""Following jobs: events become jobs, over connections that break, with both clients."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from errander import (
    AsyncClient,
    BadAnswer,
    Client,
    ConnectionFailed,
    EventsLost,
    Forbidden,
    Job,
    NotFound,
    QuotaExceeded,
    Registry,
    task,
)
from errander._events import Parser
from errander.testing import FakeErrander
from tests.sdk.conftest import Scripted, job_json, problem

OWN = Registry()


@task("demo.add", registry=OWN)
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def state(status: str, place: str, **changes: Any) -> bytes:
    return f"id: {place}\nevent: job\ndata: {json.dumps(job_json(status=status, **changes))}\n\n".encode()


END = b'id: end.1\nevent: end\ndata: {"id": "job-1", "status": "SUCCESS"}\n\n'
RESET = b'event: reset\ndata: {"reason": "too much"}\n\n'


def stream(*parts: bytes) -> httpx.Response:
    """A stream that breaks off after its parts."""
    return httpx.Response(200, content=b"".join(parts), headers={"content-type": "text/event-stream; charset=utf-8"})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before streams are asked for again, which take no time."""
    made: list[float] = []
    real = asyncio.sleep

    async def asleep(seconds: float) -> None:
        made.append(seconds)
        await real(0)

    monkeypatch.setattr("errander._events.asyncio.sleep", asleep)
    monkeypatch.setattr("errander._events.time.sleep", made.append)
    return made


Follow = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """All jobs that a client's stream gives: of one job, or with `filters` of a list, at most `most`."""

    def sync(transport: Any, most: int = 100, **filters: Any) -> list[Job]:
        with Client("http://test", transport=transport, retries=2) as client:
            jobs = client.events(**filters) if filters else client.jobs.watch("job-1")
            return [job for _, job in zip(range(most), jobs, strict=False)]

    async def awaited(transport: Any, most: int, filters: dict[str, Any]) -> list[Job]:
        async with AsyncClient("http://test", transport=transport, retries=2) as client:
            found: list[Job] = []
            async for job in client.events(**filters) if filters else client.jobs.watch("job-1"):
                found.append(job)
                if len(found) == most:
                    break
            return found

    def asynchronous(transport: Any, most: int = 100, **filters: Any) -> list[Job]:
        return asyncio.run(awaited(transport, most, filters))

    return sync if request.param == "sync" else asynchronous


def test_a_job_is_followed_to_its_end(follow: Follow, slept: list[float]) -> None:
    script = Scripted(stream(b"retry: 50\n\n", state("RUNNING", "a"), b": ping\n\n", state("SUCCESS", "b"), END))
    assert [job.status for job in follow(script.transport)] == ["RUNNING", "SUCCESS"]
    assert script.requests[0].url.path == "/v1/jobs/job-1/events"
    assert script.header("accept") == ["text/event-stream"]
    assert script.header("last-event-id") == [None]
    assert slept == []


def test_a_broken_stream_goes_on_after_its_last_event(follow: Follow, slept: list[float]) -> None:
    cut = state("RUNNING", "never")[:-1]
    script = Scripted(
        stream(b"retry: 50\n\n", state("PENDING", "a"), cut),
        httpx.ReadError("cut"),
        problem(503, "unavailable", retry_after="7"),
        httpx.ConnectError("refused"),
        httpx.ConnectError("refused"),
        httpx.ConnectError("refused"),
        stream(b"id: b\n\n"),
        stream(state("SUCCESS", "c"), END),
    )
    assert [job.status for job in follow(script.transport)] == ["PENDING", "SUCCESS"]
    assert script.header("last-event-id") == [None, "a", "a", "a", "a", "a", "a", "b"]
    assert slept[0] == slept[-1] == 0.05, "what the stream asks for"
    assert slept[2] == 7.0, "what the refusal asks for"
    assert len(slept) == 7


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(follow: Follow, slept: list[float]) -> None:
    script = Scripted(stream(state("RUNNING", "a")), problem(429, "quota-exceeded", retry_after="3600"))
    with pytest.raises(QuotaExceeded) as caught:
        follow(script.transport)
    assert caught.value.retry_after == 3600.0
    assert len(script.requests) == 2


def test_an_end_that_was_seen_before_is_the_end(follow: Follow, slept: list[float]) -> None:
    script = Scripted(stream(state("SUCCESS", "a")), httpx.Response(204))
    assert [job.status for job in follow(script.transport)] == ["SUCCESS"]


def test_a_filter_is_sent_as_the_list_sends_it(follow: Follow, slept: list[float]) -> None:
    script = Scripted(stream(state("FAILED", "1-1"), state("FAILED", "2-1", id="job-2")))
    found = follow(script.transport, 2, status=["FAILED", "RUNNING"], metadata={"customer": 7})
    assert [job.id for job in found] == ["job-1", "job-2"]
    assert str(script.requests[0].url.query, "ascii") == "status=FAILED&status=RUNNING&metadata.customer=7"


def test_a_reset_says_that_something_was_lost(follow: Follow, slept: list[float]) -> None:
    with pytest.raises(EventsLost, match="events were left out: too much; list the jobs again"):
        follow(Scripted(stream(state("FAILED", "1-1"), RESET)).transport, status="FAILED")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([problem(404, "not-found")], NotFound),
        ([problem(403, "forbidden")], Forbidden),
        ([stream(state("RUNNING", "a")), problem(404, "not-found")], NotFound),
        ([httpx.Response(200, html="<p>hello")], BadAnswer),
        ([stream(b"event: job\ndata: {no\n\n")], BadAnswer),
        ([stream(b"event: job\ndata: []\n\n")], BadAnswer),
        ([httpx.ConnectError("refused")], ConnectionFailed),
    ],
)
def test_what_trying_again_does_not_mend_is_raised(
    follow: Follow, slept: list[float], script: list[Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        follow(Scripted(*script).transport)
    assert len(slept) <= 2


def test_a_client_without_streams_says_so(follow: Follow) -> None:
    class Plain:
        def send(self, call: Any) -> Any: ...
        async def asend(self, call: Any) -> Any: ...
        def close(self) -> None: ...
        async def aclose(self) -> None: ...

    with pytest.raises(TypeError, match="carries no streams"):
        follow(Plain())


def test_events_are_read_whatever_they_are_cut_into() -> None:
    text = (
        'id: é\nevent: job\ndata: {"a": "\u2028\x85"}\r\n\n: ping\nid: 2\n\ndata: x\ndata: y\n\nretry: 20\nretry: x\n\n'
    )
    for size in (1, 2, 3, 7, 1000):
        parser = Parser()
        content = text.encode()
        parts = [content[start : start + size] for start in range(0, len(content), size)]
        events = [(event.name, event.data) for part in parts for event in parser.feed(part)]
        assert events == [("job", '{"a": "\u2028\x85"}'), ("message", "x\ny")]
        assert (parser.last_id, parser.retry) == ("2", 0.02)


def test_a_handle_follows_its_job_in_the_fake(slept: list[float]) -> None:
    with Client(transport=FakeErrander(OWN)) as client:
        job = client.submit("demo.add", {"a": 1})
        assert [one.status for one in job.events()] == ["PENDING", "SUCCESS"]
        assert job.result() == 2
        with pytest.raises(NotFound):
            list(client.jobs.watch("nobody"))

    async def awaited() -> None:
        async with AsyncClient(transport=FakeErrander(OWN)) as client:
            job = await client.submit("demo.add", {"a": 1})
            assert [one.status async for one in job.events()] == ["PENDING", "SUCCESS"]
            assert await job.result() == 2

    asyncio.run(awaited())


def test_an_explanation_is_typed() -> None:
    answer = {
        "job_id": "job-1",
        "status": "PENDING",
        "running": False,
        "summary": "The queue default is paused.",
        "reasons": [{"code": "queue-paused", "message": "The queue default is paused.", "queue": "default"}],
        "position": None,
        "estimated_start": {"p50": "2026-01-01T00:00:00Z", "p90": "2026-01-01T00:00:01Z"},
        "of a newer server": 1,
    }
    script = Scripted(httpx.Response(200, json=answer))
    with Client("http://test", transport=script.transport) as client:
        found = client.jobs.explain("job-1")
    assert (found.reasons[0].code, found.reasons[0].raw["queue"]) == ("queue-paused", "default")
    assert found.estimated_start is not None
    assert found.estimated_start.p50 is not None
    assert script.requests[0].url.path == "/v1/jobs/job-1/explain"

    async def awaited() -> str:
        async with AsyncClient("http://test", transport=script.transport) as client:
            return (await client.jobs.explain("job-1")).summary

    assert asyncio.run(awaited()) == "The queue default is paused."
