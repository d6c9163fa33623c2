"""`GET /v1/consistency`: the checks of `errander fsck`, seldom enough."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from db import consistency_kept
from db.consistency_rules import Found
from db.engine import Database
from service.api.consistency import ConsistencyDocument
from service.checks import consistency
from service.checks.consistency import RULES, Check, Report
from service.main import create_app
from tests.api.conftest import running, settings_for
from tests.fixtures.jobs import JobBook


async def look(api: httpx.AsyncClient) -> ConsistencyDocument:
    answer = await api.get("/v1/consistency")
    assert answer.status_code == 200, answer.text
    # a member that the description does not name would be dropped here, and so would be told apart
    assert ConsistencyDocument.model_validate(answer.json()).model_dump().keys() == answer.json().keys()
    return ConsistencyDocument.model_validate(answer.json())


async def test_a_fresh_deployment_is_clean_and_says_what_was_checked(api: httpx.AsyncClient, book: JobBook) -> None:
    await book.submit("demo.echo")
    found = await look(api)
    assert (found.clean, found.findings, found.last_scheduled) == (True, [], None)
    assert found.checked == sorted(RULES)
    assert found.looked_at["jobs"] == found.looked_at["ready"] == 1
    assert datetime.now(UTC) - found.checked_at < timedelta(seconds=30)


async def test_a_broken_rule_is_told_with_what_it_means_and_what_to_do(api: httpx.AsyncClient, book: JobBook) -> None:
    job = await book.submit("demo.echo")
    await book.execute("DELETE FROM errander.ready")
    await book.execute("INSERT INTO errander.task_pauses (task) VALUES ('typo')")
    found = await look(api)
    assert not found.clean
    assert [(one.code, one.severity, one.count, one.examples) for one in found.findings] == [
        ("ready-missing", "error", 1, [str(job)]),
        ("pause-unknown", "warning", 1, ["typo"]),
    ]
    assert all((one.message, one.action) == (RULES[one.code].message, RULES[one.code].action) for one in found.findings)


async def test_what_the_leader_found_last_is_shown_beside_it(api: httpx.AsyncClient, database: Database) -> None:
    worker = uuid4()
    kept = {"ready-missing": Found("ready-missing", 7, ("x",))}
    await consistency_kept.keep(database.link, kept, worker=worker, seconds=0.25)
    found = (await look(api)).last_scheduled
    assert found is not None
    assert (found.clean, found.counts, found.worker, found.seconds) == (False, {"ready-missing": 7}, str(worker), 0.25)


async def test_redis_that_is_away_is_a_warning(database: Database, database_url: str) -> None:
    async with running(create_app(settings_for(database_url, "redis://127.0.0.1:1/0"))) as api:
        found = await look(api)
    assert found.clean
    assert [(one.code, one.severity) for one in found.findings] == [("redis-unavailable", "warning")]
    assert "hint-stale" not in found.checked


async def test_a_schema_that_is_behind_is_unavailable(empty_database_url: str, redis_url: str) -> None:
    async with running(create_app(settings_for(empty_database_url, redis_url))) as api:
        answer = await api.get("/v1/consistency")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_two_checks_never_run_at_once_and_who_comes_meanwhile_gets_the_same(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = most = now = 0
    go_on = asyncio.Event()
    plain = Check.run

    async def counted(check: Check, *, full: bool = False) -> Report:
        nonlocal runs, most, now
        runs, now = runs + 1, now + 1
        most = max(most, now)
        await go_on.wait()
        try:
            return await plain(check, full=full)
        finally:
            now -= 1

    monkeypatch.setattr(consistency.Check, "run", counted)
    asked = [asyncio.create_task(look(api)) for _ in range(5)]
    await asyncio.wait(asked, timeout=0.05)
    go_on.set()
    found = await asyncio.gather(*asked)
    assert (runs, most) == (1, 1)
    assert len({one.checked_at for one in found}) == 1


async def test_an_answer_is_kept_for_a_while_but_never_for_longer_than_ten_seconds(
    app: FastAPI, api: httpx.AsyncClient
) -> None:
    first = await look(api)
    kept = app.state.services.fresh._kept["consistency"]
    kept.keep = 3600.0  # as if it had been very costly
    assert (await look(api)).checked_at == first.checked_at
    kept.value.checked_at -= timedelta(seconds=11)
    assert (await look(api)).checked_at >= first.checked_at


async def test_a_parameter_is_refused(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/consistency?full=true")).status_code == 422


def test_every_rule_is_documented_with_its_severity() -> None:
    page = (Path(__file__).parents[2] / "docs/api.md").read_text()
    for code, rule in RULES.items():
        repaired = "yes " if rule.repairable else ""
        assert f"| `{code}` | {rule.severity} | {rule.message} | {repaired}|" in page, code
