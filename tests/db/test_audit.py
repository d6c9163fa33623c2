"""The audit log: nothing but the pruner takes anything out of it, and it is read page by page."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from db import audit, retention
from db.audit import MAX_STATE, Action, Entry, Kind, Wanted
from db.engine import Database
from db.errors import BadRow
from db.reading import Reader

DAY = 86_400.0


def entry(object_id: str | None = "high", **changes: Any) -> Entry:
    given: dict[str, Any] = {"tenant": "default", "actor": "key:a", "action": Action.QUEUE_PAUSE, "kind": Kind.QUEUE}
    return Entry(**given | {"object_id": object_id} | changes)


async def write(database: Database, *entries: Entry) -> None:
    """All in one transaction, so all at the same time."""
    async with database.begin() as link:
        for one in entries:
            await audit.write(link, one)


async def write_at(database: Database, age_days: float, object_id: str) -> None:
    """An old entry: only a test writes the time itself."""
    await database.link.executor.execute(
        "INSERT INTO errander.audit (at, tenant, actor, action, object_kind, object_id)"
        " VALUES (now() - make_interval(secs => $1), 'default', 'key:a', 'queue.pause', 'queue', $2)",
        age_days * DAY,
        object_id,
    )


async def found(database: Database, tenant: str = "default", **wanted: Any) -> list[Mapping[str, Any]]:
    rows, more = await audit.newest(Reader(database), tenant, Wanted(**wanted), below=None, limit=100, with_ids=True)
    assert not more
    return rows


async def objects(database: Database, **wanted: Any) -> list[str | None]:
    return [row["object_id"] for row in await found(database, **wanted)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE errander.audit SET actor = 'somebody else'",
        "DELETE FROM errander.audit",
        "TRUNCATE errander.audit",
        """INSERT INTO errander.audit (id, tenant, actor, action, object_kind, object_id) OVERRIDING SYSTEM VALUE
        SELECT id, tenant, 'other', action, object_kind, object_id FROM errander.audit
        ON CONFLICT (id) DO UPDATE SET actor = 'somebody else'""",
        # not even with what lets the pruner delete
        "SELECT set_config('errander_audit.prune', 'on', false); UPDATE errander.audit SET actor = 'somebody else'",
        "SELECT set_config('errander_audit.prune', 'on', false); TRUNCATE errander.audit",
    ],
)
async def test_the_log_is_append_only(database: Database, database_url: str, statement: str) -> None:
    await write(database, entry())
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await connection.execute(statement)
    finally:
        await connection.close()
    assert [row["actor"] for row in await found(database)] == ["key:a"]


async def test_the_pruner_deletes_what_is_old_in_batches_and_leaves_the_log_closed(database: Database) -> None:
    for age in (400, 390, 380, 370):
        await write_at(database, age, f"{age} days")
    await write_at(database, 300, "300 days")
    assert await retention.prune_audit(database.link, seconds=365 * DAY, n=3) == 3
    assert await objects(database) == ["300 days", "370 days"]
    assert await retention.prune_audit(database.link, seconds=365 * DAY, n=3) == 1
    assert await retention.prune_audit(database.link, seconds=365 * DAY, n=3) == 0
    async with database.begin() as link:
        await link.fetch("prune_audit", seconds=365 * DAY, n=3)
    for _ in range(20):  # every connection of the pool that has pruned
        with pytest.raises(asyncpg.RestrictViolationError):
            await database.link.executor.execute("DELETE FROM errander.audit")
    assert await objects(database) == ["300 days"]


async def test_an_entry_goes_with_the_transaction_that_it_was_written_in(database: Database) -> None:
    class ThoughtBetterError(Exception):
        pass

    with pytest.raises(ThoughtBetterError):
        async with database.begin() as link:
            await audit.write(link, entry())
            raise ThoughtBetterError
    assert await found(database) == []


async def test_of_what_is_too_large_a_digest_is_kept(database: Database) -> None:
    small, large = {"tags": ["a"]}, {"tags": ["x" * MAX_STATE]}
    await write(database, entry(before=small, after=large))
    (row,) = await found(database)
    assert row["before"] == small
    assert set(row["after"]) == {"sha256"}
    assert row["after"] == audit.digest(large) != audit.digest(small)


async def test_an_entry_names_one_object_or_several_and_never_neither(database: Database) -> None:
    with pytest.raises(BadRow, match="audit_object"):
        await write(database, entry(None))
    with pytest.raises(BadRow, match="audit_object"):
        await write(database, entry("high", object_ids=[uuid4()]))


async def test_pages_of_entries_of_the_same_moment_leave_none_out_and_show_none_twice(database: Database) -> None:
    await write(database, *(entry(str(n)) for n in range(25)))
    seen: list[str] = []
    below: tuple[datetime, int] | None = None
    more = True
    while more:
        rows, more = await audit.newest(Reader(database), "default", Wanted(), below=below, limit=10)
        assert "object_ids" not in rows[0]
        seen += [row["object_id"] for row in rows]
        below = rows[-1]["at"], rows[-1]["id"]
    assert seen == [str(n) for n in reversed(range(25))]


JOB, OTHER = UUID(int=0xABC), UUID(int=0xDEF)


@pytest.mark.parametrize(
    ("wanted", "right"),
    [
        ({}, ["w", None, str(OTHER), str(JOB), "low"]),
        ({"actor": "jwt:ada"}, [None]),
        ({"action": "job.cancel"}, [str(JOB)]),
        ({"action": "job.*"}, [str(OTHER), str(JOB)]),
        ({"action": "queue.resume"}, []),
        ({"object_kind": "worker"}, ["w"]),
        ({"object_kind": "job", "object_id": str(JOB)}, [None, str(JOB)]),
        ({"object_id": str(JOB).upper()}, [None, str(JOB)]),
        ({"object_id": str(OTHER)}, [str(OTHER)]),
        ({"object_kind": "worker", "object_id": str(JOB)}, []),
        ({"object_kind": "queue", "object_id": "low"}, ["low"]),
        ({"object_id": "low", "actor": "jwt:ada"}, []),
    ],
)
async def test_entries_are_found_by_what_is_asked(
    database: Database, wanted: dict[str, str], right: list[str | None]
) -> None:
    await write(
        database,
        entry("low"),
        entry(str(JOB), action=Action.JOB_CANCEL, kind=Kind.JOB),
        entry(str(OTHER), action=Action.JOB_EDIT, kind=Kind.JOB),
        entry(None, action=Action.JOBS_CANCEL, kind=Kind.JOBS, object_ids=[uuid4(), JOB], actor="jwt:ada"),
        entry("w", action=Action.WORKER_DRAIN, kind=Kind.WORKER),
        entry("low", tenant="other"),
    )
    assert await objects(database, **wanted) == right


async def test_entries_are_found_by_time_and_only_by_their_own_tenant(database: Database) -> None:
    for age in (3, 2, 1):
        await write_at(database, age, f"{age} days")

    def ago(days: float) -> datetime:
        return datetime.now(UTC) - timedelta(days=days)

    cases: list[tuple[Callable[[], dict[str, datetime]], list[str]]] = [
        (lambda: {"after": ago(2.5)}, ["1 days", "2 days"]),
        (lambda: {"before": ago(1.5)}, ["2 days", "3 days"]),
        (lambda: {"after": ago(2.5), "before": ago(1.5)}, ["2 days"]),
    ]
    for wanted, right in cases:
        assert await objects(database, **wanted()) == right
    assert await found(database, "other") == []
