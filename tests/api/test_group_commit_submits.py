"""Submits that share a commit: nobody pays for it, whoever else is in the group and whatever becomes of it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from db import idempotency, tasks
from db.engine import Database
from db.errors import BadRow
from db.jobs import NewJob
from db.migrate import upgrade
from service.chaos.proxy import Proxy
from service.embedded import EmbeddedPostgres
from service.main import create_app
from service.submit.accepting import Accepting
from service.submit.group_commit import GroupCommit
from service.submit.submission import Submission, new_id
from tests.api.conftest import ANYTHING, running, settings_for
from tests.api.problems import problem
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually

CROWD = 200


async def submit(api: httpx.AsyncClient, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post("/v1/jobs", json={"task": "demo.echo", **fields}, headers=headers)


async def count(book: JobBook) -> int:
    return int(await book.execute("SELECT count(*) FROM errander.jobs"))


async def commits(book: JobBook) -> int:
    """Transactions that inserted the jobs that are there."""
    return int(await book.execute("SELECT count(DISTINCT xmin::text) FROM errander.jobs"))


@contextlib.asynccontextmanager
async def table_locked(database: Database, table: str) -> AsyncIterator[None]:
    """No row can be inserted meanwhile."""
    async with database.begin() as link:
        await link.executor.execute(f"LOCK TABLE errander.{table} IN SHARE MODE")
        yield


def accepting_of(app: FastAPI) -> Accepting:
    found: Accepting = app.state.services.accepting
    return found


def bad_job(key: str | None = None) -> Submission:
    """What no check of the API lets through, and only PostgreSQL refuses."""
    job = NewJob(
        id=new_id(),
        task="demo.echo",
        pool="default",
        priority="urgent",
        payload="{}",
        max_attempts=1,
        max_crashes=1,
        timeout=1.0,
        backoff="{}",
        idempotency_key=key,
    )
    return Submission(job, {})


class Spy:
    """Counts how often a group commits, and what waits in it."""

    def __init__(self, group: GroupCommit[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = 0
        self.unanswered = 0
        write, submit = group._write, group.submit

        async def counted(items: Sequence[Any]) -> Sequence[Any]:
            self.commits += 1
            return await write(items)

        async def waited_for(item: Any) -> Any:
            self.unanswered += 1
            try:
                return await submit(item)
            finally:
                self.unanswered -= 1

        monkeypatch.setattr(group, "_write", counted)
        monkeypatch.setattr(group, "submit", waited_for)


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_crowd_takes_far_fewer_commits_than_requests(
    app: FastAPI, api: httpx.AsyncClient, book: JobBook, keyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting = accepting_of(app)
    group: GroupCommit[Any, Any] = accepting.keyed if keyed else accepting.unkeyed
    spy = Spy(group, monkeypatch)
    write, opened = group._write, asyncio.Event()

    async def gated(items: Sequence[Any]) -> Sequence[Any]:
        await opened.wait()
        return await write(items)

    # However slowly they arrive, all are there before the first commit is over.
    monkeypatch.setattr(group, "_write", gated)
    crowd = asyncio.gather(*(submit(api, f"k{n}" if keyed else None, payload={"n": n}) for n in range(CROWD)))
    await eventually(lambda: spy.unanswered == CROWD, 60)
    opened.set()
    answers = await crowd
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["payload"]["n"] for answer in answers] == list(range(CROWD))
    assert len({answer.json()["id"] for answer in answers}) == await count(book) == CROWD
    assert await commits(book) <= CROWD / 10
    assert spy.commits <= 4  # at most two that had begun, and two for all others


async def test_the_answer_is_what_a_read_answers_whatever_the_texts_hold(api: httpx.AsyncClient) -> None:
    answer = await submit(
        api,
        """k%(id)s"\\'%""",
        payload={"100%": '%(id)s %s "quoted"', "ü": [None, 1.5]},
        tags=["%d", 'a"b'],
        metadata={"%": "%%"},
        expires_in=3600,
    )
    assert answer.status_code == 202
    assert answer.json() == (await api.get(answer.headers["location"])).json()


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_bad_row_is_refused_alone(app: FastAPI, api: httpx.AsyncClient, book: JobBook, keyed: bool) -> None:
    accepting = accepting_of(app)
    names = [f"k{n}" if keyed else None for n in range(20)]
    bad = [bad_job(f"bad{n}" if keyed else None) for n in range(2)]
    answers = await asyncio.gather(
        *(submit(api, name) for name in names[:10]),
        *(accepting.accept_keyed("default", one) if keyed else accepting.accept("default", one) for one in bad),
        *(submit(api, name) for name in names[10:]),
        return_exceptions=True,
    )
    assert Counter(type(answer) for answer in answers) == {httpx.Response: 20, BadRow: 2}
    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} == {202}
    assert await count(book) == 20
    if keyed:  # the key of a refused job is free
        assert (await submit(api, "bad0")).status_code == 202


async def test_two_submits_with_one_key_in_one_group_are_one_job(
    api: httpx.AsyncClient, database: Database, book: JobBook
) -> None:
    async with table_locked(database, "jobs"):
        first = asyncio.create_task(submit(api, "other"))
        await eventually(lambda: waiting_for_a_lock(book))
        crowd = [asyncio.create_task(submit(api, "k", payload={"n": 1})) for _ in range(5)]
        another = asyncio.create_task(submit(api, "k", payload={"n": 2}))
    answers = await asyncio.gather(*crowd)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": 4}
    assert problem(await another, "idempotency-key-reused", 422)["differs"] == ["/payload/n"]
    assert (await first).status_code == 202
    assert await count(book) == 2


async def waiting_for_a_lock(book: JobBook) -> bool:
    return bool(
        await book.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


@contextlib.asynccontextmanager
async def key_being_stored(database: Database, key: str) -> AsyncIterator[None]:
    """Somebody holds `key` uncommitted, and gives it up in the end."""
    with contextlib.suppress(GivesUpError):
        async with database.begin() as link:
            await link.executor.execute(
                "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
                " VALUES ('default', 'POST /v1/jobs', $1, '{}', '{}', now())",
                key,
            )
            yield
            raise GivesUpError


class GivesUpError(Exception):
    """Rolls back."""


async def test_of_a_group_with_a_locked_key_only_its_own_submits_are_in_flight(
    api: httpx.AsyncClient, database: Database, book: JobBook
) -> None:
    async with key_being_stored(database, "k5"):
        names = [f"k{n}" for n in range(10)] + ["k5"] * 5
        answers = await asyncio.gather(*(submit(api, name) for name in names))
    for name, answer in zip(names, answers, strict=True):
        if name == "k5":
            assert problem(answer, "idempotency-in-flight", 409)
        else:
            assert answer.status_code == 202
    assert await count(book) == 9


async def test_submits_of_one_locked_key_wait_for_it_once_together(
    app: FastAPI, api: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(accepting_of(app).keyed, monkeypatch)
    async with key_being_stored(database, "k"):
        for answer in await asyncio.gather(*(submit(api, "k") for _ in range(10))):
            problem(answer, "idempotency-in-flight", 409)
    assert spy.commits == 1


async def test_while_one_group_waits_for_a_key_the_next_goes_on(
    api: httpx.AsyncClient, database: Database, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE", "4s")
    async with key_being_stored(database, "k"):
        racer = asyncio.create_task(submit(api, "k"))
        await eventually(lambda: waiting_for_a_lock(book))
        assert (await asyncio.wait_for(submit(api, "stranger"), 3)).status_code == 202
        assert not racer.done()
    assert (await racer).status_code == 202
    assert await count(book) == 2


async def test_a_client_that_goes_away_loses_nothing_and_doubles_nothing(
    app: FastAPI, api: httpx.AsyncClient, database: Database, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(accepting_of(app).unkeyed, monkeypatch)
    async with table_locked(database, "jobs"):
        under_way = asyncio.create_task(submit(api, payload={"n": 0}))
        await eventually(lambda: waiting_for_a_lock(book))
        assert spy.commits == 1
        queued = [asyncio.create_task(submit(api, payload={"n": n})) for n in range(1, 6)]
        await eventually(lambda: spy.unanswered == 6)
        for gone in (under_way, queued[0]):
            gone.cancel()
        await asyncio.wait([under_way, queued[0]])
    answers = await asyncio.gather(*queued[1:])
    assert {answer.status_code for answer in answers} == {202}
    kept = await database.link.executor.fetch("SELECT payload ->> 'n' AS n FROM errander.jobs ORDER BY 1")
    # what was being committed is kept once; what had not begun is left out, and nobody was promised anything
    assert [row["n"] for row in kept] == ["0", "2", "3", "4", "5"]


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_end_of_the_application_commits_what_was_taken(
    settings: Any, database: Database, book: JobBook, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings)
    running_app = contextlib.AsyncExitStack()
    await running_app.enter_async_context(app.router.lifespan_context(app))
    spy = Spy(accepting_of(app).keyed if key else accepting_of(app).unkeyed, monkeypatch)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        async with table_locked(database, "jobs"):
            requests = [asyncio.create_task(submit(client, key))]
            await eventually(lambda: waiting_for_a_lock(book))
            requests += [asyncio.create_task(submit(client, key and f"{key}{n}")) for n in range(5)]
            await eventually(lambda: spy.unanswered == 6)
            ending = asyncio.create_task(running_app.aclose())
        await ending
        assert await count(book) == 6
        assert {answer.status_code for answer in await asyncio.gather(*requests)} == {202}


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    settings: Any, database: Database, book: JobBook, key: str | None
) -> None:
    address = httpx.URL(settings.database_url.get_secret_value())
    async with Proxy(str(address.host), int(address.port or 5432)) as proxy:
        url = str(address.copy_with(host="127.0.0.1", port=proxy.port))
        changed = settings_for(url, settings.redis_url.get_secret_value())
        async with running(create_app(changed)) as client:
            assert (await submit(client)).status_code == 202
            proxy.cut_after(b"lost-answer")
            answer = await submit(client, key, payload={"n": "lost-answer"}, delay=60)
            assert proxy.cuts == 1
            assert answer.status_code == 202
            assert "idempotency-replayed" not in answer.headers
            assert answer.json() == (await client.get(answer.headers["location"])).json()
    assert await count(book) == 2


@pytest.mark.faults
async def test_postgresql_killed_under_load_costs_no_accepted_job_and_doubles_no_key(
    server_folder: Path, redis_url: str
) -> None:
    with EmbeddedPostgres(server_folder / "postgres") as server:
        await upgrade(server.url)
        async with await Database.open(server.url) as opened:
            await tasks.announce(opened.link, [ANYTHING])
        async with running(create_app(settings_for(server.url, redis_url))) as client:
            told: Counter[int] = Counter()
            promised: list[str] = []
            stop = asyncio.Event()

            async def unkeyed() -> None:
                while not stop.is_set():
                    answer = await submit(client)
                    told[answer.status_code] += 1
                    if answer.status_code == 202:
                        promised.append(answer.json()["id"])

            async def keyed(name: str) -> dict[str, str]:
                made = {}
                for n in range(1_000_000):
                    if stop.is_set():
                        break
                    key = f"{name}-{n}"
                    while (answer := await submit(client, key)).status_code != 202:
                        told[answer.status_code] += 1
                        await asyncio.sleep(0.05)
                    told[202] += 1
                    made[key] = answer.json()["id"]
                return made

            load = [asyncio.create_task(unkeyed()) for _ in range(10)]
            retried = [asyncio.create_task(keyed(f"c{n}")) for n in range(10)]
            await eventually(lambda: told[202] > 200, 30)
            server.kill()
            await eventually(lambda: told[503] > 0, 30)
            await asyncio.to_thread(server.start)
            before = told[202]
            await eventually(lambda: told[202] > before + 200, 30)
            stop.set()
            await asyncio.gather(*load)
            by_key = {key: made for keys in await asyncio.gather(*retried) for key, made in keys.items()}
        assert set(told) == {202, 503}
        connection = await asyncpg.connect(server.url)
        rows = await connection.fetch("SELECT id, idempotency_key FROM errander.jobs")
        await connection.close()
        there = {row["id"] for row in rows}
        assert {UUID(job_id) for job_id in promised} <= there
        stored = Counter(row["idempotency_key"] for row in rows if row["idempotency_key"] is not None)
        assert set(stored.values()) == {1}
        assert {row["idempotency_key"]: str(row["id"]) for row in rows if row["idempotency_key"]} == by_key
