"""Jobs through both clients: waiting, results, lists, batches, edits, bulk actions."""

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pytest

import errander
from errander import AsyncClient, Client, NewJob
from tests.sdk.conftest import Scripted, answer, job_json, problem

FAILED = job_json(
    status="FAILED",
    error={"attempt": 2, "kind": "timeout", "message": "too slow"},
    errors=[
        {"attempt": 1, "kind": "error", "message": "first"},
        {"attempt": 2, "kind": "timeout", "message": "too slow"},
    ],
)


async def test_result_waits_by_held_reads_and_gives_the_result(pauses: list[float]) -> None:
    server = Scripted(
        answer(202, job_json()),
        answer(200, job_json(status="RUNNING")),
        answer(200, job_json(status="SUCCESS", result=[1])),
    )
    async with AsyncClient(transport=server.transport) as client:
        job = await client.submit("demo.echo")
        assert await job.result() == [1]
        assert job.status == "SUCCESS"
    assert [request.url.params.get("wait") for request in server.requests] == [None, "25", "25"]


def test_a_wait_goes_on_through_a_restart_of_the_api(pauses: list[float]) -> None:
    server = Scripted(
        answer(202, job_json()),
        httpx.RemoteProtocolError("closed"),
        httpx.ConnectError("refused"),
        problem(503, "unavailable", retry_after="3"),
        httpx.Response(502, text="proxy"),
        answer(200, job_json(status="SUCCESS", result={"ok": True})),
    )
    with Client(transport=server.transport, retries=0) as client:
        assert client.submit("demo.echo").result(timeout=3600) == {"ok": True}
    assert len(server.requests) == 6
    assert pauses[2] == 3.0


@pytest.mark.parametrize(("asked", "paused"), [("300", 300.0), ("inf", 86_400.0)])
def test_a_wait_asks_no_sooner_than_the_server_wishes(asked: str, paused: float, pauses: list[float]) -> None:
    server = Scripted(
        answer(202, job_json()),
        problem(429, "quota-exceeded", retry_after=asked),
        answer(200, job_json(status="SUCCESS", result=1)),
    )
    with Client(transport=server.transport) as client:
        assert client.submit("demo.echo").result() == 1
    assert pauses == [paused]


async def test_a_wait_ends_at_its_deadline_and_the_job_goes_on() -> None:
    server = Scripted(answer(202, job_json()), answer(200, job_json(status="RUNNING")))
    async with AsyncClient(transport=server.transport) as client:
        job = await client.submit("demo.echo")
        with pytest.raises(errander.WaitTimeout, match="goes on") as caught:
            await job.wait(timeout=0.05)
        with pytest.raises(TimeoutError):
            await job.result(timeout=0)
    assert (caught.value.job_id, caught.value.status, caught.value.timeout) == ("job-1", "RUNNING", 0.05)


async def test_a_deadline_passes_while_the_api_is_away() -> None:
    server = Scripted(answer(202, job_json()), httpx.ConnectError("refused"))
    async with AsyncClient(transport=server.transport) as client:
        job = await client.submit("demo.echo")
        with pytest.raises(errander.WaitTimeout) as caught:
            await job.wait(timeout=0.05)
    assert isinstance(caught.value.__cause__, errander.ConnectionFailed)


def test_a_wait_stops_at_a_refusal(pauses: list[float]) -> None:
    server = Scripted(answer(202, job_json()), problem(404, "not-found"))
    with Client(transport=server.transport) as client, pytest.raises(errander.NotFound):
        client.submit("demo.echo").wait(60)


def test_an_api_that_holds_no_answer_is_not_asked_in_a_tight_loop(pauses: list[float]) -> None:
    running = answer(200, job_json(status="RUNNING"))
    server = Scripted(answer(202, job_json()), running, running, answer(200, job_json(status="SUCCESS")))
    with Client(transport=server.transport) as client:
        client.submit("demo.echo").wait(60)
    assert pauses == [0.1, 0.1]


def test_a_failed_job_raises_with_its_errors() -> None:
    with Client(transport=Scripted(answer(202, FAILED)).transport) as client:
        job = client.submit("demo.echo")
        with pytest.raises(errander.JobFailed, match="timeout: too slow") as caught:
            job.result()
    assert caught.value.job_id == "job-1"
    assert caught.value.error.kind == "timeout"
    assert [error.message for error in caught.value.errors] == ["first", "too slow"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_cancelled_job_raises_with_its_reason() -> None:
    cancelled = job_json(status="CANCELLED", cancelled_by="client", cancel_reason="not needed")
    with Client(transport=Scripted(answer(202, cancelled)).transport) as client:
        job = client.submit("demo.echo")
        with pytest.raises(errander.JobCancelled, match="by client: not needed") as caught:
            job.result()
    assert caught.value.reason == "not needed"


def test_submit_can_wait_up_to_what_the_server_allows() -> None:
    server = Scripted(answer(200, job_json(status="SUCCESS", result=3)))
    with Client(transport=server.transport) as client:
        assert client.submit("demo.echo", wait=0.4).result() == 3
        client.submit("demo.echo", wait=30)
        with pytest.raises(ValueError, match="at most 30"):
            client.submit("demo.echo", wait=31)
    assert [request.url.params["wait"] for request in server.requests] == ["1", "30"]


def pages(request: httpx.Request) -> httpx.Response:
    """Three pages of two jobs."""
    start = int(request.url.params.get("cursor", "0"))
    items = [job_json(id=f"job-{n}") for n in range(start, start + 2)]
    return answer(200, {"items": items, "next_cursor": str(start + 2) if start < 4 else None})


async def test_lists_read_their_pages_as_they_go() -> None:
    server = Scripted(pages)
    async with AsyncClient(transport=server.transport) as client:
        ids = [job.id async for job in client.jobs.list()]
        assert ids == [f"job-{n}" for n in range(6)]
        assert len(server.requests) == 3
        assert len([job async for job in client.jobs.list(limit=3)]) == 3
        assert len(server.requests) == 5
        assert [job async for job in client.dead_letter.list(limit=0)] == []
        assert len(server.requests) == 5


def test_filters_are_sent_as_the_contract_names_them() -> None:
    server = Scripted(answer(200, {"items": [], "next_cursor": None}))
    with Client(transport=server.transport) as client:
        filters: Any = {
            "status": ["FAILED", "CANCELLED"],
            "tag": "a",
            "task": "demo.*",
            "created_after": datetime(2030, 1, 1, tzinfo=UTC),
            "scheduled": True,
            "metadata": {"customer": "x", "n": 5},
            "payload": {"a.b": None},
        }
        assert list(client.jobs.list(page_size=10, include="payload", **filters)) == []
    assert list(server.requests[0].url.params.multi_items()) == [
        ("status", "FAILED"),
        ("status", "CANCELLED"),
        ("tag", "a"),
        ("task", "demo.*"),
        ("created_after", "2030-01-01T00:00:00Z"),
        ("scheduled", "true"),
        ("metadata.customer", "x"),
        ("metadata.n", "5"),
        ("payload.a.b", "null"),
        ("include", "payload"),
        ("limit", "10"),
    ]


def test_bulk_actions_send_the_same_filters() -> None:
    server = Scripted(answer(200, {"matched": 3, "changed": 2, "more": True}))
    with Client(transport=server.transport) as client:
        done = client.jobs.cancel_many(task="demo.*", status="PENDING", metadata={"n": 5}, reason="r", limit=2)
        client.jobs.replay_many(dry_run=True, status="FAILED")
        client.dead_letter.replay()
    assert (done.matched, done.changed, done.more) == (3, 2, True)
    assert [request.url.path for request in server.requests] == [
        "/v1/jobs/cancel",
        "/v1/jobs/replay",
        "/v1/dead-letter/replay",
    ]
    wanted = {"task": "demo.*", "status": ["PENDING"], "metadata.n": 5}
    assert server.bodies == [
        {"filter": wanted, "limit": 2, "reason": "r"},
        {"filter": {"status": ["FAILED"]}, "dry_run": True},
        {"filter": {}},
    ]


def accept_batch(request: httpx.Request) -> httpx.Response:
    """Accepts whatever batch comes, naming each job after its payload."""
    sent = json.loads(request.content)["jobs"]
    return answer(
        202, {"jobs": [{"id": f"job-{job['payload']['n']}", "status": "PENDING", "replayed": False} for job in sent]}
    )


async def test_many_jobs_go_in_requests_of_ten_thousand() -> None:
    server = Scripted(accept_batch)
    async with AsyncClient(transport=server.transport) as client:
        jobs = await client.submit_many(NewJob("demo.echo", {"n": n}) for n in range(20_001))
    assert [job.id for job in jobs] == [f"job-{n}" for n in range(20_001)]
    assert jobs[0].task == "demo.echo"
    assert [len(body["jobs"]) for body in server.bodies] == [10_000, 10_000, 1]
    assert len(set(server.header("Idempotency-Key"))) == 3


async def test_many_jobs_may_come_from_an_async_iterable() -> None:
    async def source() -> AsyncIterator[NewJob]:
        for n in range(3):
            await asyncio.sleep(0)
            yield NewJob("demo.echo", {"n": n}, idempotency_key=f"k{n}")

    server = Scripted(accept_batch)
    async with AsyncClient(transport=server.transport) as client:
        assert len(await client.submit_many(source())) == 3
        assert await client.submit_many([]) == []
    assert [job["idempotency_key"] for job in server.bodies[0]["jobs"]] == ["k0", "k1", "k2"]
    assert len(server.requests) == 1


def test_batches_stay_below_the_limit_of_bytes() -> None:
    server = Scripted(accept_batch)
    with Client(transport=server.transport) as client:
        client.submit_many(NewJob("demo.echo", {"n": n, "text": "x" * 1_000_000}) for n in range(35))
    assert sum(len(body["jobs"]) for body in server.bodies) == 35
    assert len(server.requests) == 2
    assert max(len(request.content) for request in server.requests) < 32 * 1024 * 1024


def test_a_later_batch_that_is_refused_says_what_is_kept_and_counts_from_the_first_job() -> None:
    errors = [
        {"pointer": "/jobs/17/payload/n", "detail": "d", "code": "c"},
        {"pointer": "", "detail": "d", "code": "c"},
    ]
    server = Scripted(accept_batch, problem(422, "validation-failed", errors=errors))
    with Client(transport=server.transport) as client, pytest.raises(errander.ValidationFailed) as caught:
        client.submit_many(NewJob("demo.echo", {"n": n}) for n in range(10_020))
    assert len(caught.value.accepted) == 10_000
    assert [error.pointer for error in caught.value.errors] == ["/jobs/10017/payload/n", ""]


@pytest.mark.parametrize("written", [{"task": "demo.echo", "payload": {}}, ("demo.echo", {}), "demo.echo"])
def test_a_job_in_another_form_is_refused_in_words_before_anything_is_sent(written: Any) -> None:
    server = Scripted()
    with Client(transport=server.transport) as client, pytest.raises(TypeError, match=r"is a NewJob\(task, payload"):
        client.submit_many([NewJob("demo.echo"), written])
    assert server.requests == []


def test_an_answer_that_names_too_few_jobs_is_no_answer() -> None:
    with Client(transport=Scripted(answer(202, {"jobs": []})).transport) as client, pytest.raises(errander.BadAnswer):
        client.submit_many([NewJob("demo.echo", {"n": 1})])


def test_an_edit_sends_only_the_given_fields_and_null_where_that_is_meant() -> None:
    server = Scripted(answer(200, job_json()))
    with Client(transport=server.transport) as client:
        client.jobs.edit("job-1", priority="high", expires_at=None, timeout=5)
        with pytest.raises(ValueError, match="at least one"):
            client.jobs.edit("job-1")
        with pytest.raises(TypeError, match=r"edit\(\) knows no prioritty; there are priority, pool"):
            client.jobs.edit("job-1", **cast("Any", {"prioritty": "high"}))
    assert server.requests[0].method == "PATCH"
    assert server.bodies == [{"priority": "high", "expires_at": None, "timeout": 5.0}]


async def test_a_handle_acts_on_its_job() -> None:
    entry = {"at": "2030-01-01T00:00:00Z", "event": "submitted", "status": "PENDING", "attempt": 0}
    server = Scripted(
        answer(202, job_json()),
        answer(200, job_json(status="CANCELLED")),
        answer(200, job_json(status="PENDING", replays=1)),
        answer(200, job_json(attempt=1)),
        answer(200, job_json(attempt=2)),
        answer(200, {"items": [entry]}),
    )
    async with AsyncClient(transport=server.transport) as client:
        job = await client.submit("demo.echo")
        assert (await job.cancel("no")).status == "CANCELLED"
        assert (await job.replay(delay=5, payload={"n": 2})).data.replays == 1
        assert (await job.run_now()).attempt == 1
        assert (await job.refresh()).attempt == 2
        assert [found.event for found in await job.history()] == ["submitted"]
    assert [request.url.path.removeprefix("/v1/jobs") for request in server.requests] == [
        "",
        "/job-1/cancel",
        "/job-1/replay",
        "/job-1/run-now",
        "/job-1",
        "/job-1/history",
    ]
    assert json.loads(server.requests[2].content) == {"payload": {"n": 2}, "delay": 5.0}


def test_both_clients_have_the_same_surface() -> None:
    from errander import _audit, _dead_letter, _handles, _jobs, _queues, _tasks, _workers

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(AsyncClient) - {"aclose"} == public(Client) - {"close"}
    assert public(_handles.AsyncJobHandle) == public(_handles.JobHandle)
    for module, name in (
        (_jobs, "Jobs"),
        (_queues, "Queues"),
        (_tasks, "Tasks"),
        (_workers, "Workers"),
        (_dead_letter, "DeadLetter"),
        (_audit, "Audit"),
    ):
        assert public(getattr(module, name)) == public(getattr(module, f"Async{name}"))


async def test_the_other_nouns_read_what_the_api_lists() -> None:
    answers = {
        "/v1/queues": {"items": [{"queue": "high", "paused": True, "ready": 3}]},
        "/v1/tasks": {"items": [{"name": "demo.echo", "live": 2}]},
        "/v1/tasks/demo.echo": {"name": "demo.echo", "payload_schema": {"type": "object"}},
        "/v1/tasks/demo.echo/pause": {"name": "demo.echo", "paused": True},
        "/v1/workers": {"items": [{"id": "w1", "pid": 7, "priorities": ["high"]}]},
        "/v1/workers/w1/drain": None,
        "/v1/stats": {"jobs": {"PENDING": 4}, "last_5_minutes": {"submitted": 1, "wait_p50": None}},
        "/readyz": {"status": "degraded", "checks": {"redis": "away"}},
    }

    def respond(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.path]
        return httpx.Response(202) if found is None else answer(200, found)

    async with AsyncClient(transport=Scripted(respond).transport) as client:
        assert [(queue.queue, queue.paused, queue.ready) for queue in await client.queues.list()] == [("high", True, 3)]
        assert [found.live for found in await client.tasks.list()] == [2]
        assert (await client.tasks.get("demo.echo")).payload_schema == {"type": "object"}
        assert (await client.tasks.pause("demo.echo")).paused
        assert [worker.pid for worker in await client.workers.list()] == [7]
        await client.workers.drain("w1")
        assert (await client.stats()).jobs == {"PENDING": 4}
        assert (await client.ready()).status == "degraded"
