"""`errander.testing`: one attempt in process, and an API in memory."""

import threading

import pytest

import errander
from errander import (
    AsyncClient,
    Cancel,
    Client,
    Context,
    Exponential,
    Fail,
    Linear,
    NewJob,
    Registry,
    Retry,
    Snooze,
    SyncContext,
    task,
)
from errander.testing import FakeErrander, run

OWN = Registry()


@task("flaky", max_attempts=3, backoff=Linear(base=60), registry=OWN)
async def flaky(ctx: Context, fail_times: int = 0) -> dict[str, int]:
    ctx.progress(ctx.attempt, 3)
    ctx.log.info("trying", attempt=ctx.attempt)
    if ctx.failures < fail_times:
        raise RuntimeError(f"failure {ctx.failures + 1}")
    return {"attempt": ctx.attempt}


@task("add", registry=OWN)
def add(a: int, b: int = 1) -> int:
    return a + b


@task("ends", registry=OWN)
async def ends(how: str) -> None:
    match how:
        case "retry":
            raise Retry("busy", defer=9)
        case "snooze":
            raise Snooze(30)
        case "fail":
            raise Fail("hopeless")
        case "cancel":
            raise Cancel("unwanted")


async def test_a_run_gives_what_a_client_would_see() -> None:
    outcome = await run(flaky, {"fail_times": 0}, attempt=2)
    assert (outcome.status, outcome.result) == ("SUCCESS", {"attempt": 2})
    assert outcome.progress == [(2, 3, None)]
    assert outcome.logs == [("info", "trying", {"attempt": 2})]
    assert (await run("add", {"a": 1}, registry=OWN)).result == 2


async def test_a_failure_waits_by_the_declared_backoff_until_tries_run_out() -> None:
    second = await run(flaky, {"fail_times": 9}, failures=1)
    assert (second.status, second.defer, second.failures) == ("RETRYING", 120.0, 2)
    assert second.error is not None
    assert (second.error["kind"], second.error["type"]) == ("error", "RuntimeError")
    last = await run(flaky, {"fail_times": 9}, failures=2)
    assert (last.status, last.defer) == ("FAILED", None)


@pytest.mark.parametrize(
    ("how", "status", "defer", "reason"),
    [
        ("retry", "RETRYING", 9.0, None),
        ("snooze", "PENDING", 30.0, ""),
        ("fail", "FAILED", None, "hopeless"),
        ("cancel", "CANCELLED", None, "unwanted"),
    ],
)
async def test_signals_end_an_attempt_as_they_say(
    how: str, status: str, defer: float | None, reason: str | None
) -> None:
    outcome = await run(ends, {"how": how})
    assert (outcome.status, outcome.defer, outcome.reason) == (status, defer, reason)
    assert (await run(ends, {"how": "snooze"}, failures=1)).status == "RETRYING"


async def test_a_payload_or_result_that_does_not_fit_is_told_apart() -> None:
    refused = await run(add, {"a": "x"})
    assert refused.error is not None
    assert (refused.status, refused.error["kind"]) == ("FAILED", "payload")

    @task("odd", registry=Registry())
    def odd() -> object:
        return object()

    spoiled = await run(odd)
    assert spoiled.error is not None
    assert (spoiled.status, spoiled.error["kind"]) == ("FAILED", "result")


async def test_a_timeout_ends_a_coroutine_and_is_told_to_a_thread() -> None:
    @task("slow", registry=Registry())
    async def slow(ctx: Context) -> None:
        await ctx.sleep(3600)

    told = threading.Event()

    @task("deaf", timeout=0.02, registry=Registry())
    def deaf(ctx: SyncContext) -> str:
        while not ctx.cancelled:
            told.wait(0.005)
        told.set()
        return "too late"

    for outcome in (await run(slow, timeout=0.02), await run(deaf)):
        assert outcome.error is not None
        assert (outcome.status, outcome.error["kind"]) == ("RETRYING", "timeout")
    assert told.is_set()


async def test_a_cancel_request_is_seen_and_success_is_stronger() -> None:
    @task("obedient", registry=Registry())
    def obedient(ctx: SyncContext) -> None:
        ctx.check()

    assert (await run(obedient, cancel_requested=True)).status == "CANCELLED"
    assert (await run(add, {"a": 1}, cancel_requested=True)).status == "SUCCESS"
    assert (await run(flaky, {"fail_times": 9}, cancel_requested=True)).status == "CANCELLED"
    assert (await run(ends, {"how": "fail"}, cancel_requested=True)).status == "FAILED"


async def test_a_job_runs_when_its_result_is_asked_for() -> None:
    fake = FakeErrander(OWN)
    async with AsyncClient(transport=fake) as client:
        job = await client.submit("flaky", {"fail_times": 2})
        assert job.status == "PENDING"
        assert await job.result(timeout=60) == {"attempt": 3}
        assert [error.message for error in job.errors] == ["failure 1", "failure 2"]
        assert (job.failures, job.attempts_left) == (2, 1)
        assert job.data.backoff == {"kind": "linear", "base": 60.0, "max": 600.0, "jitter": 0.5}


def test_the_blocking_client_talks_to_it_as_well() -> None:
    with Client(transport=FakeErrander(OWN)) as client:
        assert client.submit(add, {"a": 4}).result() == 5
        assert client.submit("add", {"a": 4}, wait=5).status == "SUCCESS"


async def test_the_blocking_client_may_be_used_inside_a_loop() -> None:
    with Client(transport=FakeErrander(OWN)) as client:
        assert client.submit(add, {"a": 4}).result() == 5


async def test_jobs_run_on_demand_by_a_clock_of_its_own() -> None:
    fake = FakeErrander(OWN, autorun=False)
    async with AsyncClient(transport=fake) as client:
        soon = await client.submit("add", {"a": 1})
        later = await client.submit("add", {"a": 2}, delay=3600)
        assert len(await fake.run_due()) == 1
        assert (await soon.refresh()).status == "SUCCESS"
        assert (await later.refresh()).status == "PENDING"
        fake.advance(3600)
        assert len(await fake.run_due()) == 1
        expiring = await client.submit("add", {"a": 3}, delay=100, expires_in=50)
        await client.submit("flaky", {"fail_times": 9})
        assert await fake.run_all() == 3
        assert (await expiring.refresh()).cancelled_by == "expired"
        assert [job.task async for job in client.dead_letter.list()] == ["flaky"]


async def test_keys_make_one_job_and_other_content_is_refused() -> None:
    async with AsyncClient(transport=FakeErrander(OWN)) as client:
        first = await client.submit("add", {"a": 1}, idempotency_key="k")
        assert await client.submit("add", {"a": 1}, idempotency_key="k") == first
        with pytest.raises(errander.IdempotencyKeyReused) as caught:
            await client.submit("add", {"a": 2}, idempotency_key="k")
    assert (caught.value.job_id, caught.value.differs) == (first.id, ("/payload",))


async def test_refusals_are_those_of_the_real_api() -> None:
    fake = FakeErrander(OWN)
    async with AsyncClient(transport=fake) as client:
        with pytest.raises(errander.TaskNotKnown) as unknown:
            await client.submit("addd")
        assert unknown.value.similar == ("add",)
        with pytest.raises(errander.ValidationFailed) as invalid:
            await client.submit("add", {"a": "x"})
        assert invalid.value.errors[0].pointer == "/payload/a"
        with pytest.raises(errander.ValidationFailed) as batch:
            await client.submit_many([NewJob("add", {"a": 1}), NewJob("add"), NewJob("gone")])
        assert [error.pointer for error in batch.value.errors] == ["/jobs/1/payload/a", "/jobs/2/task"]
        assert fake.jobs == []
        job = await client.submit("add", {"a": 1}, wait=1)
        for refused in (job.cancel(), job.replay(), job.run_now()):
            with pytest.raises(errander.Conflict) as conflict:
                await refused
            assert conflict.value.job_status == "SUCCESS"
        with pytest.raises(errander.NotFound):
            await client.jobs.get("nobody")
        with pytest.raises(errander.ServerError, match="FakeErrander has no"):
            await client.stats()


async def test_lists_filter_and_page() -> None:
    fake = FakeErrander(OWN)
    async with AsyncClient(transport=fake) as client:
        await client.submit_many(NewJob("add", {"a": n}, tags=["even"] if n % 2 == 0 else []) for n in range(7))
        await client.submit("flaky", metadata={"n": 5, "customer": "x"})
        assert len([job async for job in client.jobs.list(page_size=3)]) == 8
        assert len([job async for job in client.jobs.list(tag="even", page_size=3)]) == 4
        assert [job.task async for job in client.jobs.list(task="fl*", metadata={"n": 5, "customer": "x"})] == ["flaky"]
        newest = [job async for job in client.jobs.list(limit=1, include="payload")]
        assert newest[0].task == "flaky"
        assert sorted(found.name for found in await client.tasks.list()) == OWN.names()


async def test_a_replay_starts_over() -> None:
    fake = FakeErrander(OWN)
    async with AsyncClient(transport=fake) as client:
        job = await client.submit("add", {"a": 1}, delay=10)
        await job.cancel("no")
        assert (job.status, job.cancel_reason) == ("CANCELLED", "no")
        await job.replay(payload={"a": 5})
        assert (job.status, job.data.replays, job.cancel_reason) == ("PENDING", 1, None)
        assert await job.result() == 6


async def test_an_unknown_task_can_be_accepted_and_waits() -> None:
    fake = FakeErrander(OWN, accept_unknown=True)
    async with AsyncClient(transport=fake) as client:
        job = await client.submit("of.another.service", {"x": 1}, backoff=Exponential())
        assert await fake.run_all() == 0
        with pytest.raises(errander.WaitTimeout):
            await job.wait(0)
    assert fake.calls[0].path == "/v1/jobs"
