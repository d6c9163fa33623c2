"""The rules of `db/sql`: headers, locks and fences that every statement keeps."""

import re

import pytest

from db import statements
from db.lifecycle import TRANSITIONS, JobStatus

EDGES = {name: edge for edge in TRANSITIONS for name in edge.statements}

NEVER_WAITS = {
    "claim_by_head",
    "claim_by_id",
    "succeed",
    "fail",
    "crash",
    "snooze",
    "give_back",
    "cancel_running",
    "rescue",
    "expire",
    "progress",
    "prune_jobs",
    "prune_keys",
    "prune_workers",
    "prune_audit",
}
"""What they leave out comes round again, so they skip locked rows."""

ANY_ORDER = {"claim_by_head", "claim_by_id"}
"""They lock two tables together in the order of the queue; a statement that only skips may."""

_TABLE_ORDER = ["workers", "jobs", "ready", "running", "history"]


_LOCK = re.compile(
    r"(ORDER BY j\.id )?(?:LIMIT CAST\(:n AS int\) )?FOR (?:NO KEY UPDATE|UPDATE)( OF [a-z, ]+?)?( SKIP LOCKED)?(?: \)|$)"
)


def header(name: str) -> str:
    """The comment that a statement begins with."""
    lines = (statements.FOLDER / f"{name}.sql").read_text().splitlines()
    first_code = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:first_code])


def body(name: str) -> str:
    """A statement without comments, parts included, in one spacing."""
    return " ".join(re.sub(r"--[^\n]*", "", statements.source(name)).split())


def rewritten(name: str) -> set[str]:
    """The tables of which it changes or deletes rows that are there."""
    return set(re.findall(r"\b(?:UPDATE|DELETE FROM) errander\.(\w+)", body(name)))


ALL = statements.names()
MOVES_JOBS = [name for name in ALL if "jobs" in rewritten(name)]
# a row or two by its key: nothing to put in order
BY_ONE_KEY = {"resume_queue", "resume_task", "beat", "worker_leave", "worker_drain", "resign"} | {
    *("key_revoke", "key_retire")
}


@pytest.mark.parametrize("name", ALL)
def test_a_statement_says_what_it_is_for(name: str) -> None:
    rules = ("-- guard:", "-- locks:", "-- index:", "--  ")
    assert any(len(line) > 20 and not line.startswith(rules) for line in header(name).splitlines())


@pytest.mark.parametrize("name", sorted(EDGES))
def test_the_header_of_an_edge_says_what_the_life_cycle_says(name: str) -> None:
    edge = EDGES[name]
    found = re.match(r"-- edge: (\w+): ([A-Z ]+) → ([A-Z ]+)$", header(name).splitlines()[0])
    assert found, header(name).splitlines()[0]
    assert found[1] == edge.name
    assert {JobStatus(word) for word in found[2].split()} == edge.sources
    assert {JobStatus(word) for word in found[3].split()} == edge.targets


def test_no_other_statement_claims_to_be_an_edge() -> None:
    assert {name for name in ALL if "-- edge:" in header(name)} == set(EDGES)


@pytest.mark.parametrize("name", ALL)
def test_only_edges_and_submits_write_a_status(name: str) -> None:
    sets_status = re.search(r"\bSET (?:[^;]*?, )?status =", body(name))
    assert not sets_status or name in EDGES
    if "INSERT INTO errander.jobs" in body(name):
        assert name in {"insert_jobs", "submit_keyed"}


@pytest.mark.parametrize("name", sorted(EDGES))
def test_an_edge_says_its_guard_its_locks_and_its_indexes(name: str) -> None:
    for word in ("guard", "locks", "index"):
        assert re.search(rf"^-- {word}: \S", header(name), re.MULTILINE), f"no {word}"


@pytest.mark.parametrize("name", [name for name in ALL if rewritten(name) - BY_ONE_KEY])
def test_whatever_changes_several_rows_says_its_locks(name: str) -> None:
    if name in BY_ONE_KEY or name == "drop_keys":  # its rows are locked by `lock_keys` before, in the same transaction
        return
    assert re.search(r"^-- locks: \S", header(name), re.MULTILINE)


@pytest.mark.parametrize("name", MOVES_JOBS)
def test_jobs_are_locked_before_they_are_changed_in_the_order_of_their_ids(name: str) -> None:
    text = body(name)
    lock = next((found for found in _LOCK.finditer(text) if "w" not in (found[2] or "").split()), None)
    assert lock, "it locks nothing"
    change = re.search(r"(UPDATE|DELETE FROM) errander\.jobs", text)
    assert change
    assert lock.start() < change.start(), "it changes before it locks"
    assert (lock[3] is not None) == (name in NEVER_WAITS), "whether it skips is decided by whether the row comes again"
    assert (lock[1] is not None) != (name in ANY_ORDER)
    assert "AS MATERIALIZED" in text


@pytest.mark.parametrize("name", sorted(NEVER_WAITS - set(MOVES_JOBS)))
def test_what_comes_round_again_is_never_waited_for(name: str) -> None:
    assert re.search(r"ORDER BY [a-z., ]+ (LIMIT \S+ AS int\) )?FOR UPDATE OF \w SKIP LOCKED", body(name))


@pytest.mark.parametrize("name", ALL)
def test_tables_are_locked_in_one_order(name: str) -> None:
    found = re.search(r"^-- locks: (.*(?:\n--  +.*)*)", header(name), re.MULTILINE)
    if found is None or name in ANY_ORDER or name == "expire":  # these lock two tables together, and never wait
        return
    said = [word for word in re.findall(r"[a-z]+", found[1]) if word in _TABLE_ORDER]
    order = [table for table in _TABLE_ORDER if table in said]
    if set(said) >= {"ready", "running"}:  # both belong to the job that is locked: either may be first
        order = [table for table in said if table in order]
    assert said == order


@pytest.mark.parametrize("name", sorted(EDGES))
def test_a_status_is_tested_so_that_no_partial_index_can_serve_it(name: str) -> None:
    text = re.sub(r"\bSET .*?( FROM | WHERE )", r"\1", body(name))
    assert not re.search(r"\bj\.status (?:=|IN|<>)", text.split("RETURNING")[0])


@pytest.mark.parametrize("name", ALL)
def test_rows_that_may_meet_others_are_inserted_in_the_order_of_their_keys(name: str) -> None:
    text = body(name)
    for insert in re.finditer(r"INSERT INTO errander\.(\w+) \([^)]*\) SELECT ", text):
        if insert[1] in {"idempotency_keys", "tasks", "ready", "jobs"}:
            assert "ORDER BY" in select_of(text[insert.end() :]), insert[0]


def select_of(text: str) -> str:
    """The select that `text` goes on with, up to where its level of parentheses or its insert ends."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth < 0 or (depth == 0 and text.startswith((" ON CONFLICT", " RETURNING"), place)):
            return text[:place]
    return text


@pytest.mark.parametrize("name", ALL)
def test_no_session_state_and_no_other_clock(name: str) -> None:
    text = body(name).lower()
    assert "clock_timestamp()" not in text or name == "server"
    assert "listen " not in text
    assert not re.search(r"pg_advisory_lock\(|set_config\([^)]*false\)", text)
    assert "returning *" not in text, "a cached plan must not change its columns in a rolling migration"


def test_every_relation_is_named_with_its_schema() -> None:
    tables = {"jobs", "ready", "running", "history", "workers", "leaders", "tasks", "idempotency_keys"}
    for name in ALL:
        for relation in re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (?!errander\.)([a-z_]+)\b", body(name)):
            assert relation not in tables, f"{name}: {relation}"
