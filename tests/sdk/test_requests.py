"""What is sent, what is tried again, and which error an answer becomes."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

import errander
from errander import AsyncClient, Client, Exponential, NewJob, Registry, task
from errander._api_errors import _BY_CODE, error_class
from service.http.problems import CODES
from tests.sdk.conftest import Scripted, answer, job_json, problem


async def test_only_what_the_caller_set_is_sent() -> None:
    server = Scripted(answer(202, job_json()))
    async with AsyncClient(transport=server.transport) as client:
        await client.submit("demo.echo")
        await client.submit("demo.echo", {"n": 1}, delay=timedelta(minutes=1), tags=("a",), backoff=Exponential(base=1))
    backoff = {"kind": "exponential", "base": 1.0, "factor": 2.0, "max": 600.0, "jitter": 0.5}
    assert server.bodies == [
        {"task": "demo.echo"},
        {"task": "demo.echo", "payload": {"n": 1}, "delay": 60.0, "tags": ["a"], "backoff": backoff},
    ]


def test_times_are_sent_in_utc_and_a_naive_one_is_refused() -> None:
    server = Scripted(answer(202, job_json()))
    with Client(transport=server.transport) as client:
        client.submit("t", run_at=datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
        with pytest.raises(ValueError, match="time zone"):
            client.submit("t", run_at=datetime(2030, 1, 1))  # noqa: DTZ001
    assert server.bodies == [{"task": "t", "run_at": "2030-01-01T00:00:00Z"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1},
        {"expires_at": datetime(2030, 1, 1, tzinfo=UTC), "expires_in": 1},
        {"delay": -1},
        {"delay": float("nan")},
        {"timeout": True},
        {"tags": "one"},
        {"idempotency_key": "zwölf"},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 256},
    ],
)
def test_what_makes_no_sense_is_refused_before_it_is_sent(fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        NewJob("t", **fields)


def test_a_payload_that_is_no_json_is_refused_before_it_is_sent() -> None:
    server = Scripted(answer(202, job_json()))
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    with Client(transport=server.transport) as client:
        for value, said in (
            ({"n": float("nan")}, "^/payload/n: NaN is no JSON number"),
            ({"a": [1, {"b": object()}]}, "^/payload/a/1/b: Unable to serialize unknown type"),
            ({"a/b~c": ({"n": float("nan")},)}, "^/payload/a~1b~0c/0/n: NaN is no JSON number"),
            (cycle, "^/payload/again: "),
        ):
            with pytest.raises(ValueError, match=said):
                client.submit("t", value)
            with pytest.raises(ValueError, match=said):
                client.submit_many([NewJob("t", value)])
    assert server.requests == []


def test_a_task_may_be_given_itself() -> None:
    @task("by.object", registry=Registry())
    def by_object() -> None: ...

    assert NewJob(by_object).body() == {"task": "by.object"}


async def test_a_submit_that_is_tried_again_carries_the_same_key(pauses: list[float]) -> None:
    server = Scripted(
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        problem(503, "unavailable"),
        problem(502, "whatever"),
        problem(409, "idempotency-in-flight", retry_after="1"),
        answer(202, job_json()),
    )
    async with AsyncClient(transport=server.transport) as client:
        job = await client.submit("demo.echo")
    assert job.id == "job-1"
    keys = set(server.header("Idempotency-Key"))
    assert len(server.requests) == 6
    assert len(keys) == 1
    assert None not in keys
    assert len(pauses) == 5


def test_the_blocking_client_tries_again_just_so(pauses: list[float]) -> None:
    server = Scripted(httpx.ConnectError("refused"), problem(429, "quota-exceeded"), answer(202, job_json()))
    with Client(transport=server.transport) as client:
        client.submit("demo.echo", idempotency_key="order-42")
    assert server.header("Idempotency-Key") == ["order-42"] * 3
    assert len(pauses) == 2


def test_two_submits_have_two_keys() -> None:
    server = Scripted(answer(202, job_json()))
    with Client(transport=server.transport) as client:
        client.submit("demo.echo")
        client.submit("demo.echo")
    assert len(set(server.header("Idempotency-Key"))) == 2


def test_pauses_grow_and_honour_retry_after(pauses: list[float]) -> None:
    date = "Sun, 06 Nov 2033 08:49:37 GMT"
    later = "Sun, 06 Nov 2033 08:49:57 GMT"
    server = Scripted(
        problem(503, "unavailable"),
        problem(503, "unavailable"),
        problem(429, "quota-exceeded", retry_after="7"),
        problem(429, "quota-exceeded", retry_after="60"),
        problem(503, "unavailable", retry_after=later, date=date),
        answer(200, {"version": "1", "api": "v1"}),
    )
    with Client(transport=server.transport) as client:
        assert client.version().version == "1"
    assert 0.125 <= pauses[0] <= 0.25
    assert 0.25 <= pauses[1] <= 0.5
    assert pauses[2:] == [7.0, 60.0, 20.0]


@pytest.mark.parametrize("code", [(429, "quota-exceeded"), (503, "unavailable")])
def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(pauses: list[float], code: tuple[int, str]) -> None:
    server = Scripted(problem(*code, retry_after="61"), answer(200, {"version": "1"}))
    with Client(transport=server.transport) as client, pytest.raises(errander.ApiError) as caught:
        client.version()
    assert caught.value.retry_after == 61.0
    assert (len(server.requests), pauses) == (1, [])


def test_after_the_last_try_the_error_comes_out(pauses: list[float]) -> None:
    server = Scripted(problem(503, "unavailable", "no database", retry_after="2"))
    with Client(transport=server.transport, retries=2) as client, pytest.raises(errander.Unavailable) as caught:
        client.queues.list()
    assert len(server.requests) == 3
    assert (caught.value.status, caught.value.code, caught.value.detail) == (503, "unavailable", "no database")
    assert (caught.value.request_id, caught.value.retry_after) == ("req-7", 2.0)


def test_what_might_have_been_done_twice_is_not_tried_again(pauses: list[float]) -> None:
    for lost in (httpx.ReadError("reset"), problem(502, "bad-gateway")):
        server = Scripted(lost)
        with Client(transport=server.transport) as client, pytest.raises(errander.ApiError):
            client.jobs.replay("job-1")
        assert len(server.requests) == 1
    server = Scripted(httpx.ConnectError("refused"), problem(503, "unavailable"), answer(200, job_json()))
    with Client(transport=server.transport) as client:
        client.jobs.replay("job-1")
    assert len(server.requests) == 3


def test_a_refusal_is_not_tried_again(pauses: list[float]) -> None:
    server = Scripted(problem(422, "validation-failed"))
    with Client(transport=server.transport) as client, pytest.raises(errander.ValidationFailed):
        client.submit("t")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed-json", errander.BadRequest),
        (401, "unauthenticated", errander.Unauthenticated),
        (403, "forbidden", errander.Forbidden),
        (404, "not-found", errander.NotFound),
        (405, "method-not-allowed", errander.BadRequest),
        (408, "request-timeout", errander.RequestTimeout),
        (409, "job-already-final", errander.JobAlreadyFinal),
        (409, "job-not-waiting", errander.JobNotWaiting),
        (409, "not-replayable", errander.NotReplayable),
        (409, "unique-conflict", errander.UniqueConflict),
        (409, "idempotency-in-flight", errander.IdempotencyInFlight),
        (409, "key-not-active", errander.KeyNotActive),
        (409, "rotation-under-way", errander.RotationUnderWay),
        (409, "of-the-future", errander.Conflict),
        (412, "precondition-failed", errander.PreconditionFailed),
        (413, "payload-too-large", errander.BadRequest),
        (415, "unsupported-media-type", errander.BadRequest),
        (422, "validation-failed", errander.ValidationFailed),
        (422, "unknown-task", errander.TaskNotKnown),
        (422, "idempotency-key-reused", errander.IdempotencyKeyReused),
        (422, "of-the-future", errander.ValidationFailed),
        (429, "quota-exceeded", errander.QuotaExceeded),
        (500, "internal", errander.ServerError),
        (503, "unavailable", errander.Unavailable),
    ],
)
def test_every_code_has_its_error(status: int, code: str, kind: type[errander.ApiError]) -> None:
    server = Scripted(problem(status, code, "why"))
    with Client(transport=server.transport, retries=0) as client, pytest.raises(errander.ApiError) as caught:
        client.jobs.get("job-1")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{status} {code}: why (request req-7)")


def test_the_servers_codes_and_the_errors_are_the_same() -> None:
    assert set(_BY_CODE) == set(CODES)
    for code, row in CODES.items():
        by_status = error_class(row.status, "")
        assert issubclass(_BY_CODE[code], by_status) or code == "idempotency-key-reused", code


def test_a_refused_value_is_said_once() -> None:
    errors = [
        {"pointer": "/payload/n", "detail": "too small", "code": "minimum"},
        {"pointer": "/payload/m", "detail": "too large", "code": "maximum"},
    ]
    server = Scripted(problem(422, "validation-failed", "/payload/n: too small (and 1 more)", errors=errors))
    with Client(transport=server.transport) as client, pytest.raises(errander.ValidationFailed) as caught:
        client.submit("t")
    said = "422 validation-failed: /payload/n: too small (and 1 more) (request req-7); /payload/m: too large"
    assert str(caught.value) == said


def test_two_values_that_are_wrong_in_the_same_way_are_both_said() -> None:
    errors = [{"pointer": f"/payload/{name}", "detail": "too small", "code": "minimum"} for name in ("n", "m")]
    server = Scripted(problem(422, "validation-failed", "/payload/n: too small (and 1 more)", errors=errors))
    with Client(transport=server.transport) as client, pytest.raises(errander.ValidationFailed) as caught:
        client.submit("t")
    assert str(caught.value).endswith("/payload/n: too small (and 1 more) (request req-7); /payload/m: too small")


@pytest.mark.parametrize(
    ("similar", "asked"),
    [
        (["a"], "; did you mean a?"),
        (["a", "b"], "; did you mean a or b?"),
        (["a", "b", "c"], "; did you mean a, b or c?"),
        (["a", "b", "c", "d"], "; did you mean a, b or c?"),
        ([], ""),
    ],
)
def test_a_task_that_is_not_known_says_what_comes_close(similar: list[str], asked: str) -> None:
    server = Scripted(problem(422, "unknown-task", "no task 'demo.ecko' is known", similar=similar))
    with Client(transport=server.transport) as client, pytest.raises(errander.TaskNotKnown) as caught:
        client.submit("demo.ecko")
    assert str(caught.value).endswith(f"is known (request req-7){asked}")


def test_errors_carry_what_the_problem_says() -> None:
    more: dict[str, Any] = {
        "errors": [{"pointer": "/payload/n", "detail": "too small", "code": "minimum"}],
        "similar": ["demo.echo"],
    }
    server = Scripted(problem(422, "unknown-task", **more))
    with Client(transport=server.transport) as client, pytest.raises(errander.TaskNotKnown) as caught:
        client.submit("demo.ecko")
    assert caught.value.errors == (errander.FieldError("/payload/n", "too small", "minimum"),)
    assert caught.value.similar == ("demo.echo",)
    server = Scripted(problem(409, "job-already-final", job_id="job-1", job_status="SUCCESS"))
    with Client(transport=server.transport) as client, pytest.raises(errander.JobAlreadyFinal) as final:
        client.jobs.cancel("job-1")
    assert (final.value.job_id, final.value.job_status) == ("job-1", "SUCCESS")


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(200, text="<html>hello</html>"), errander.BadAnswer),
        (httpx.Response(200, json=[1]), errander.BadAnswer),
        (httpx.Response(200, json={"no": "id"}), errander.BadAnswer),
        (httpx.Response(302, headers={"location": "https://login"}), errander.BadAnswer),
        (httpx.Response(404, text="nginx"), errander.BadAnswer),
        (httpx.Response(502, text="bad gateway"), errander.Unavailable),
        (httpx.Response(500, text="oops"), errander.ServerError),
    ],
)
def test_an_answer_of_somebody_else_is_told_apart(response: httpx.Response, kind: type[errander.ApiError]) -> None:
    with Client(transport=Scripted(response).transport, retries=0) as client, pytest.raises(kind):
        client.jobs.get("job-1")


def test_no_exception_of_httpx_leaks() -> None:
    for raised in (httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")):
        server = Scripted(raised)
        with (
            Client(transport=server.transport, retries=0) as client,
            pytest.raises(errander.ConnectionFailed) as caught,
        ):
            client.stats()
        assert caught.value.status == 0
        assert "127.0.0.1:8000" in str(caught.value)


def test_newer_answers_break_no_older_client() -> None:
    body = job_json(status="FROZEN", novelty={"a": 1}, error={"kind": "melted", "message": "m", "heat": 9})
    with Client(transport=Scripted(answer(200, body)).transport) as client:
        job = client.jobs.get("job-1")
    assert job.status == "FROZEN"
    assert not job.is_final
    assert job.error is not None
    assert job.error.kind == "melted"
    assert job.data.raw["novelty"] == {"a": 1}


def test_a_null_is_read_as_absent() -> None:
    body = job_json(errors=None, tags=None, metadata=None, error={"kind": "lost", "message": None}, result=None)
    with Client(transport=Scripted(answer(200, body)).transport) as client:
        job = client.jobs.get("job-1")
    assert (job.errors, job.tags, job.metadata) == ([], [], {})
    assert job.error is not None
    assert (job.error.message, job.error.raw) == ("", {"kind": "lost", "message": None})


def test_names_are_quoted_in_paths() -> None:
    server = Scripted(answer(200, {"queue": "x"}))
    with Client("http://h/base/", transport=server.transport) as client:
        client.queues.pause("gpu:high", reason="deploy")
        client.queues.resume("a/b?c")
        with pytest.raises(ValueError, match="empty"):
            client.queues.resume("")
    assert [str(request.url) for request in server.requests] == [
        "http://h/base/v1/queues/gpu:high/pause",
        "http://h/base/v1/queues/a%2Fb%3Fc/resume",
    ]
    assert server.bodies == [{"reason": "deploy"}, {}]


def test_address_and_token_come_from_arguments_then_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Client().base_url == "http://127.0.0.1:8000"
    monkeypatch.setenv("ERRANDER_URL", "https://errander.example/")
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("ERRANDER_TOKEN_FILE", str(tmp_path / "token"))
    server = Scripted(answer(200, {"version": "1"}))
    with Client(transport=server.transport) as client:
        client.version()
        assert client.base_url == "https://errander.example"
    with Client("http://other", "given", transport=server.transport) as client:
        client.version()
        assert "given" not in repr(client)
    assert server.header("Authorization") == ["Bearer from-file", "Bearer given"]
    assert [request.url.host for request in server.requests] == ["errander.example", "other"]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h", "http://", "http://h/?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address of the API"):
        AsyncClient(url)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schlüssel"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Client(token=token)
