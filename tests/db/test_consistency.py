"""What a look finds: each rule once broken, nothing in a world that only Errander's own statements have touched."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from db import leader, statements
from db.consistency import Limits, Look, look, snapshot
from db.consistency_rules import RULES, Found, Severity
from db.consistency_sweep import CHUNK, WALKS, sweep
from db.errors import Unavailable
from service.submit.replays import SINGLE
from tests.db.scene import Scene
from tests.db.test_traffic import CONNECTIONS, traffic_of

LIMITS = Limits(lease=30.0, late=600.0, pause=0.0)
ROUNDS = 60


async def default(scene: Scene) -> Look:
    """The look that is taken often."""
    return await look(scene.database, LIMITS)


async def whole(scene: Scene) -> Look:
    """A look at everything."""
    seen = await look(scene.database, LIMITS, tables=False)
    for walk in WALKS:
        part = await sweep(scene.database, walk, LIMITS)
        seen.add(part.found.values())
        seen.looked_at |= part.looked_at
    return seen


async def a_little_of_everything(scene: Scene) -> dict[str, UUID]:
    """A job of each kind, as Errander leaves them."""
    worker = await scene.worker()
    await leader.lead(scene.link, worker, seconds=60)
    made = {status: await scene.job(status) for status in ("PENDING", "WAITING", "CANCELLED")}
    made["RETRYING"] = await scene.job("RETRYING", worker=worker, attempt=1, failures=1)
    made["RUNNING"] = await scene.job("RUNNING", worker=worker)
    made["SUCCESS"] = await scene.job("SUCCESS", worker=worker, attempt=1)
    made["FAILED"] = await scene.job("FAILED", worker=worker, attempt=3, failures=3)
    made["later"] = await scene.job(run_in=3600.0, expires_in=7200.0)
    return made


# -- each rule, broken by hand ---------------------------------------------------------------------------------------

BREAKS: dict[str, tuple[str, str]] = {
    "ready-missing": ("PENDING", "DELETE FROM errander.ready WHERE id = $1"),
    "ready-surplus": (
        "SUCCESS",
        (
            "INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at)"
            " SELECT id, tenant, pool, priority, task, run_at FROM errander.jobs WHERE id = $1"
        ),
    ),
    "ready-differs": ("RETRYING", "UPDATE errander.ready SET priority = 'low' WHERE id = $1"),
    "lease-missing": ("RUNNING", "DELETE FROM errander.running WHERE id = $1"),
    "lease-surplus": (
        "FAILED",
        (
            "INSERT INTO errander.running (id, attempt, worker_id, pool, priority)"
            " SELECT id, attempt, worker_id, pool, priority FROM errander.jobs WHERE id = $1"
        ),
    ),
    "lease-differs": ("RUNNING", "UPDATE errander.running SET attempt = 7 WHERE id = $1"),
    "status-wrong": ("PENDING", "UPDATE errander.jobs SET failures = 1, attempt = 1, started_at = now() WHERE id = $1"),
    "budget-passed": ("RETRYING", "UPDATE errander.jobs SET crashes = 3, attempt = 9 WHERE id = $1"),
    "attempt-wrong": ("FAILED", """UPDATE errander.jobs SET errors = '[{"attempt": 4}]' WHERE id = $1"""),
    "history-ahead": (
        "RETRYING",
        "INSERT INTO errander.history (job_id, event, status, attempt) VALUES ($1, 'failed', 'RETRYING', 2)",
    ),
    "history-orphaned": (
        "CANCELLED",
        (
            "WITH gone AS (DELETE FROM errander.jobs WHERE id = $1 RETURNING id)"
            " INSERT INTO errander.history (job_id, event, status, attempt) SELECT id, 'failed', 'RETRYING', 0 FROM gone"
        ),
    ),
    "key-missing": ("PENDING", "UPDATE errander.jobs SET idempotency_key = 'order-42' WHERE id = $1"),
    "running-overdue": ("RUNNING", "UPDATE errander.jobs SET started_at = now() - interval '661 s' WHERE id = $1"),
}


@pytest.mark.parametrize("code", sorted(BREAKS))
@pytest.mark.parametrize("find", [default, whole])
async def test_a_broken_rule_is_found_alone_and_its_job_is_named(
    scene: Scene, code: str, find: Callable[[Scene], Awaitable[Look]]
) -> None:
    made = await a_little_of_everything(scene)
    status, breaking = BREAKS[code]
    assert (await find(scene)).found == {}
    await scene.ask(breaking, made[status])
    assert (await find(scene)).found == {code: Found(code, 1, (str(made[status]),))}


OTHER_BREAKS = [
    ("ready-surplus", "RUNNING", "INSERT INTO errander.ready SELECT id, tenant, pool, priority, task, run_at FROM errander.jobs WHERE id = $1"),
    *(
        ("ready-differs", "later", f"UPDATE errander.ready SET {change} WHERE id = $1")
        for change in (
            "tenant = 'b'",
            "pool = 'b'",
            "task = 'b'",
            "run_at = run_at - interval '1 microsecond'",
            "expires_at = NULL",
        )
    ),
    *(
        ("lease-differs", "RUNNING", f"UPDATE errander.running SET {change} WHERE id = $1")
        for change in ("pool = 'b'", "priority = 'low'", "worker_id = gen_random_uuid()")
    ),
    ("status-wrong", "RETRYING", "UPDATE errander.jobs SET failures = 0 WHERE id = $1"),
    ("budget-passed", "RETRYING", "UPDATE errander.jobs SET failures = 3, attempt = 3 WHERE id = $1"),
    ("budget-passed", "FAILED", "UPDATE errander.jobs SET failures = 4, attempt = 4 WHERE id = $1"),
    ("budget-passed", "CANCELLED", "UPDATE errander.jobs SET crashes = 4, attempt = 4, started_at = now() WHERE id = $1"),
    ("attempt-wrong", "RUNNING", "UPDATE errander.jobs SET failures = 2 WHERE id = $1"),
    ("attempt-wrong", "later", "UPDATE errander.jobs SET started_at = now() WHERE id = $1"),
    ("attempt-wrong", "later", "UPDATE errander.jobs SET attempt = 1 WHERE id = $1"),
    (
        "key-missing",
        "PENDING",
        (
            "WITH k AS (INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
            f" VALUES ('default', '{SINGLE}', 'k', '{{}}', '{{}}', now()))"
            " UPDATE errander.jobs SET idempotency_key = 'k' WHERE id = $1"
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status", "breaking"), OTHER_BREAKS)
async def test_every_way_to_break_a_rule_is_seen(scene: Scene, code: str, status: str, breaking: str) -> None:
    made = await a_little_of_everything(scene)
    await scene.ask(breaking, made[status])
    assert (await look(scene.database, LIMITS)).found == {code: Found(code, 1, (str(made[status]),))}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("finished_at = NULL", "end-wrong"),
        ("failed_at = now()", "end-wrong"),
    ],
)
async def test_an_end_that_contradicts_the_status_is_found_and_so_is_the_missing_constraint(
    scene: Scene, change: str, code: str
) -> None:
    made = await a_little_of_everything(scene)
    await scene.ask("ALTER TABLE errander.jobs DROP CONSTRAINT jobs_finished")
    await scene.ask("ALTER TABLE errander.jobs DROP CONSTRAINT jobs_failed")
    await scene.ask(f"UPDATE errander.jobs SET {change} WHERE id = $1", made["SUCCESS"])
    found = (await look(scene.database, LIMITS)).found
    assert found[code] == Found(code, 1, (str(made["SUCCESS"]),))
    assert found["schema-differs"] == Found("schema-differs", 2, ("jobs_failed", "jobs_finished"))


async def test_a_missing_index_and_a_constraint_that_is_not_trusted_are_found(scene: Scene) -> None:
    await scene.ask("DROP INDEX errander.ready_head")
    await scene.ask("ALTER TABLE errander.jobs DROP CONSTRAINT jobs_timeout")
    await scene.ask("ALTER TABLE errander.jobs ADD CONSTRAINT jobs_timeout CHECK (timeout > 0) NOT VALID")
    (found,) = (await look(scene.database, LIMITS)).found.values()
    assert (found.code, found.examples) == ("schema-differs", ("jobs_timeout", "ready_head"))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE errander.audit DISABLE TRIGGER audit_rows",
        "ALTER TABLE errander.audit ENABLE REPLICA TRIGGER audit_rows",
        "DROP TRIGGER audit_rows ON errander.audit",
    ],
)
async def test_a_trigger_that_guards_the_audit_log_no_more_is_found(scene: Scene, change: str) -> None:
    assert "schema-differs" not in (await look(scene.database, LIMITS)).found
    await scene.ask(change)
    found = (await look(scene.database, LIMITS)).found
    assert found["schema-differs"] == Found("schema-differs", 1, ("audit_rows",))


async def test_a_held_key_and_a_replay_that_outlived_its_key_break_nothing(scene: Scene) -> None:
    job, replayed = await scene.job(idempotency_key="k"), await scene.job(idempotency_key="old", replays=1)
    await scene.ask(
        "INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)"
        " VALUES ('default', $1, 'k', '{}', ARRAY[$2::uuid], now())",
        SINGLE,
        job,
    )
    assert (await look(scene.database, LIMITS)).found == {}
    assert await scene.status(replayed) == "PENDING"


def test_the_route_of_single_submits_is_the_services() -> None:
    assert f"i.route = '{SINGLE}'" in statements.source("consistency_jobs")


async def test_many_are_counted_and_some_are_named(scene: Scene) -> None:
    made = [await scene.job() for _ in range(25)]
    await scene.ask("DELETE FROM errander.ready")
    (found,) = (await look(scene.database, LIMITS)).found.values()
    assert (found.count, found.examples) == (25, tuple(map(str, made[:20])))


# -- a busy system ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [11, 12])
async def test_under_any_traffic_nothing_is_found(scene: Scene, seed: int) -> None:
    traffic = await traffic_of(scene, seed)
    over = asyncio.Event()
    looks = 0

    async def keep_looking() -> None:
        nonlocal looks
        while not over.is_set():
            for found in (await look(scene.database, LIMITS)).found, (await whole(scene)).found:
                assert found == {}
            looks += 1

    looking = asyncio.create_task(keep_looking())
    try:
        await asyncio.gather(*(traffic.act(ROUNDS) for _ in range(CONNECTIONS - 2)))
    finally:
        over.set()
        await looking
    assert looks > 3
    assert traffic.done["claimed"] > 0


async def test_a_look_sees_one_moment_however_long_it_takes(scene: Scene) -> None:
    worker, job = await scene.worker(), await scene.job()
    async with snapshot(scene.database) as link:
        await link.fetch("consistency_ready", n=10, after=None, both=True, most=20)
        await scene.claim(worker, job)
        rows = await link.fetch("consistency_recent", n=10, most=20)
        assert [row["code"] for row in rows] == [None]
        assert await link.executor.fetchval("SELECT status FROM errander.jobs WHERE id = $1", job) == "PENDING"


async def test_a_look_cannot_write(scene: Scene) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        async with snapshot(scene.database) as link:
            await link.fetch("resign", name="main", worker=uuid4())


# -- everything ------------------------------------------------------------------------------------------------------


async def test_a_sweep_goes_to_the_end_of_every_table(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.consistency_sweep.CHUNK", 7)
    worker = await scene.worker()
    made = [await scene.job() for _ in range(30)]
    running = [await scene.job("RUNNING", worker=worker) for _ in range(15)]
    await scene.ask(
        "INSERT INTO errander.history (job_id, event, status, attempt) SELECT id, 'edited', status, 0 FROM errander.jobs"
    )
    await scene.ask("DELETE FROM errander.ready WHERE id = ANY($1)", [made[0], made[29]])
    heard: list[tuple[str, int]] = []
    for walk in WALKS:
        seen = await sweep(scene.database, walk, LIMITS, tell=lambda *step: heard.append(step))
        expected = {"jobs": 45, "ready": 28, "running": 15, "history": 45}[walk.place]
        assert seen.looked_at == {walk.place: expected}
        if walk.place == "jobs":
            assert seen.found["ready-missing"].examples == (str(made[0]), str(made[29]))
    assert [rows for place, rows in heard if place == "running"] == [7, 14, 15]
    assert CHUNK > 1000
    assert len(running) == 15


def test_every_rule_says_what_to_do() -> None:
    for code, rule in RULES.items():
        assert rule.code == code
        assert len(rule.message) > 20
        assert len(rule.action) > 20
        assert not (rule.repairable and rule.severity is Severity.WARNING)
        assert ("--repair" in rule.action) == rule.repairable
