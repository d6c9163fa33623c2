"""An API process that dies around a commit, or never hears of it: what was kept runs once, and a key never makes two."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import httpx
import pytest

from db.lifecycle import JobStatus
from service.chaos.proxy import Proxy
from tests.faults.apis import Api, announce, serving
from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults


async def _killed(api: Api, request: "asyncio.Future[httpx.Response]") -> None:
    """No answer comes: the process is gone."""
    with pytest.raises(httpx.TransportError):
        await request
    assert await api.process.ended() == -signal.SIGKILL


def _batch(tag: str) -> list[dict[str, object]]:
    return [{"task": "fault.quick", "payload": {"n": n}, "tags": [tag]} for n in range(20)]


async def _tagged(book: JobBook, tag: str) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs WHERE tags ? $1", tag))


async def test_what_an_api_committed_before_it_was_killed_runs_once_and_a_key_finds_it_again(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    failpoints.now()
    await announce(book.database)
    names = ("unkeyed.committed", "keyed.committed", "batch.committed", "batch.committing", "answering")
    environments = [dict(failpoints.settings(f"api.{name}:kill")) for name in names]
    async with serving(fleet, *environments, {}) as (unkeyed, keyed, batch, uncommitted, answering, sound):
        await asyncio.gather(
            _killed(unkeyed, asyncio.ensure_future(unkeyed.submit(tags=["unkeyed"]))),
            _killed(keyed, asyncio.ensure_future(keyed.submit(key="one", tags=["keyed"]))),
            _killed(batch, asyncio.ensure_future(batch.submit_batch(_batch("batch"), key="whole"))),
            _killed(uncommitted, asyncio.ensure_future(uncommitted.submit_batch(_batch("lost"), key="lost"))),
            _killed(answering, asyncio.ensure_future(answering.submit(key="two", tags=["answered"]))),
        )
        kept = {tag: await _tagged(book, tag) for tag in ("unkeyed", "keyed", "batch", "lost", "answered")}
        assert kept == {"unkeyed": 1, "keyed": 1, "batch": 20, "lost": 0, "answered": 1}
        await fleet.ready()  # nobody has hinted at most of them
        for key, tag in (("one", "keyed"), ("two", "answered")):
            again = await sound.submit(key=key, tags=[tag])
            assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
        for key, tag, replayed in (("whole", "batch", True), ("lost", "lost", False)):
            again = await sound.submit_batch(_batch(tag), key=key)
            assert (again.status_code, "Idempotency-Replayed" in again.headers) == (202, replayed)
    ids = [row["id"] for row in await book.database.link.executor.fetch("SELECT id FROM errander.jobs")]
    assert len(ids) == 1 + 1 + 20 + 20 + 1
    await book.succeeds(*ids)
    ledger.started_once()
    ledger.check(silence=SILENCE)


async def test_a_submit_whose_commit_was_not_answered_to_the_api_is_one_job_with_a_key_and_without(
    fleet: Fleet, book: JobBook, database_url: str
) -> None:
    await announce(book.database)
    async with Proxy.of(database_url) as proxy:
        through = {"DATABASE_URL": proxy.through(database_url)}
        async with serving(fleet, through) as (api,):
            assert (await api.submit(tags=["before"])).status_code == 202
            for key in (None, "a-key"):
                tag = f"lost-{key}"
                proxy.cut_after(tag.encode())  # only this job's row carries it
                answer = await api.submit(key=key, tags=[tag])
                assert answer.status_code == 202, answer.text
                assert answer.json()["status"] == JobStatus.PENDING
                assert "Idempotency-Replayed" not in answer.headers
                assert await _tagged(book, tag) == 1
            assert proxy.cuts == 2
            await _batch_whose_commit_was_not_answered(api, proxy, book)


async def _batch_whose_commit_was_not_answered(api: Api, proxy: Proxy, book: JobBook) -> None:
    """Nobody can know; the client is told so, asks again under the same key, and gets what was kept."""
    proxy.cut_after(b"COMMIT")
    lost = await api.submit_batch(_batch("batch"), key="whole")
    assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in lost.headers
    assert await _tagged(book, "batch") == 20
    again = await api.submit_batch(_batch("batch"), key="whole")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert await _tagged(book, "batch") == 20


async def test_an_error_at_any_edge_of_a_submit_refuses_it_or_keeps_it_once(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    await announce(book.database)
    edges = ("committing", "committed")
    names = [f"api.{kind}.{edge}" for kind in ("unkeyed", "keyed", "batch", "change") for edge in edges]
    names.append("publisher.sending")
    failpoints.now()
    environment = dict(failpoints.settings(",".join(f"{name}:raise*1" for name in names)))
    async with serving(fleet, environment) as (api,):
        for number in range(3):
            assert (await api.submit(tags=["unkeyed"])).status_code == 202  # its id is its own: it is simply sent again
            keyed = await _insisted(lambda key=f"key-{number}": api.submit(key=key))  # type: ignore[misc]
            await _insisted(lambda key=f"batch-{number}": api.submit_batch(_batch(key), key=key))  # type: ignore[misc]
            await _insisted(lambda url=keyed.headers["Location"]: api.client.post(f"{url}/run-now"))  # type: ignore[misc]
            assert await _tagged(book, f"batch-{number}") == 20
        assert set(failpoints.names()) == set(names)
        assert api.process.alive
    ids = [row["id"] for row in await book.database.link.executor.fetch("SELECT id FROM errander.jobs")]
    assert len(ids) == 3 * (1 + 1 + 20)
    await fleet.ready()
    await book.succeeds(*ids)
    ledger.started_once()


async def _insisted(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Asks until the answer is no 503, as a client does."""

    async def answered() -> httpx.Response | None:
        answer = await ask()
        assert answer.status_code in (200, 202, 503), answer.text
        return answer if answer.is_success else None

    return await eventually(answered)
