"""What an attempt ended with: what PostgreSQL would refuse never reaches it."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.lifecycle import CancelledBy, ErrorKind
from errander import Cancel, Fail, Registry, Retry, Snooze, task
from workers.outcomes import (
    MAX_DEPTH,
    MAX_MESSAGE,
    MAX_RESULT_BYTES,
    MAX_TRACEBACK,
    Cancelled,
    Crashed,
    Failed,
    ResultRefused,
    Snoozed,
    Succeeded,
    check_json_text,
    encode_result,
    error_entry,
    failure,
    raised,
    returned,
    scrub,
)


def nested(depth: int, kind: Callable[[Any], Any] = lambda inner: [inner], core: Any = None) -> Any:
    value: Any = kind(core) if core is not None else kind(1)
    for _ in range(depth - 1):
        value = kind(value)
    return value


def empty(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


REFUSED: dict[str, Any] = {
    "NUL": {"s": "a\0b"},
    "NUL in a key": {"a\0": 1},
    "half a surrogate": ["\ud800"],
    "half a surrogate in a key": {"\udfff": 1},
    "NaN": {"n": math.nan},
    "infinity": [math.inf],
    "NaN alone": math.nan,
    "NaN as a key": {math.nan: 1},
    "5,000 digits": 10**5_000,
    "200,000 digits": {"n": 1 << 664_386},
    "one level too many": nested(MAX_DEPTH + 1),
    "one level too many, empty": empty(MAX_DEPTH + 1),
    "one level too many, of objects": nested(MAX_DEPTH + 1, lambda inner: {"k": inner}),
    "one level too many, of tuples": nested(MAX_DEPTH + 1, lambda inner: (inner,)),
    "too deep for Python": nested(100_000),
    "one byte too many": "x" * (MAX_RESULT_BYTES - 1),
    "one byte too many, of two": "ü" * (MAX_RESULT_BYTES // 2),
}

TAKEN: dict[str, Any] = {
    "nothing": None,
    "an escaped backslash before u0000": {"path": "\\u0000", "more": "\\\\u0000"},
    "a pair of surrogates": "\U0001f600",
    "as many levels as may be": nested(MAX_DEPTH),
    "as many levels as may be, empty": empty(MAX_DEPTH),
    "as many bytes as may be": "x" * (MAX_RESULT_BYTES - 2),
    "a large number": 10**4_000,
    "the largest float": 1.7976931348623157e308,
    "the smallest float": 5e-324,
    "truth": [True, False],
    "control characters": "\x01\x1f\x7f",
    "line separators": "\u2028\u2029",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_jsonb_would_refuse_is_refused_here(what: str) -> None:
    with pytest.raises(ResultRefused):
        encode_result(REFUSED[what])


@pytest.mark.parametrize("what", TAKEN)
def test_what_jsonb_takes_is_taken_as_it_is(what: str) -> None:
    assert json.loads(encode_result(TAKEN[what])) == TAKEN[what]


async def test_postgresql_takes_all_that_is_taken(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for value in TAKEN.values():
            await connection.fetchval("SELECT CAST(CAST($1 AS text) AS jsonb)", encode_result(value))
    finally:
        await connection.close()


def test_a_number_that_only_its_text_shows_to_be_huge_is_refused() -> None:
    # 1e400000 is read as an infinity by Python and as 400,001 digits by PostgreSQL
    text = '{"n": 1e400000}'
    with pytest.raises(ResultRefused):
        check_json_text(text, json.loads(text))


@given(st.text(alphabet=st.characters(codec=None), max_size=3_000), st.integers(2, 500))
def test_scrubbed_text_is_short_and_can_be_stored(text: str, limit: int) -> None:
    clean = scrub(text, limit)
    assert len(clean) <= limit
    assert "\0" not in clean
    clean.encode()  # no half of a surrogate pair
    assert clean == text or len(text) > limit or "\ufffd" in clean


def test_the_end_of_a_long_message_is_kept() -> None:
    assert scrub("beginning " + "x" * 100 + " why", 10) == "…xxxxx why"


class Hostile(Exception):
    """Its message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Loud(Exception):
    """More than is kept."""


def test_a_failure_can_be_stored_whatever_was_raised() -> None:
    for error in (Hostile(), Loud("\0\ud800" + "x" * 100_000), KeyError(None), SystemExit(3), KeyboardInterrupt()):
        found = failure(error)
        assert len(found.message) <= MAX_MESSAGE
        assert found.traceback is None or len(found.traceback) <= MAX_TRACEBACK
        entry = error_entry(found)
        assert "\\u0000" not in entry
        assert json.loads(entry)["type"] == type(error).__qualname__


def test_each_way_of_raising_is_an_outcome() -> None:
    assert raised(Snooze(defer=5)) == Snoozed(5.0)
    assert raised(Cancel("enough")) == Cancelled(CancelledBy.TASK, "enough")
    retry, fail, plain = raised(Retry(defer=7)), raised(Fail("no")), raised(ValueError("bad"))
    assert isinstance(retry, Failed)
    assert (retry.defer, retry.final) == (7.0, False)
    assert isinstance(fail, Failed)
    assert (fail.defer, fail.final, fail.message) == (None, True, "no")
    assert isinstance(plain, Failed)
    assert (plain.kind, plain.type, plain.message, plain.final) == (ErrorKind.ERROR, "ValueError", "bad", False)
    assert plain.traceback is not None


def test_arqs_own_retry_is_understood() -> None:
    from arq.worker import Retry as ArqRetry

    found = raised(ArqRetry(defer=3))
    assert isinstance(found, Failed)
    assert (found.defer, found.final) == (3.0, False)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(-1, None), (math.nan, None), ("soon", None), (True, None), (None, None), (2, 2.0), (math.inf, 365 * 86_400.0)],
)
def test_a_wait_that_was_set_by_hand_is_one_that_can_be_added_to_a_time(asked: Any, kept: float | None) -> None:
    retry, snooze = Retry("again"), Snooze(1)
    retry.defer = snooze.defer = asked
    found = raised(retry)
    assert isinstance(found, Failed)
    assert found.defer == kept
    later = raised(snooze)
    assert later == Snoozed(kept) if kept is not None else isinstance(later, Failed)


def test_arqs_retry_with_an_odd_score_is_a_failure_like_any_other() -> None:
    from arq.worker import Retry as ArqRetry

    error = ArqRetry(defer=3)
    error.defer_score = "soon"  # type: ignore[assignment]  # what an attribute allows
    found = raised(error)
    assert isinstance(found, Failed)
    assert found.defer is None


@dataclass
class Report:
    made_at: datetime
    total: Decimal


HERE = Registry()


@task("reports", registry=HERE)
async def reports() -> Report:
    raise NotImplementedError


@task("anything", registry=HERE)
async def anything() -> Any:
    raise NotImplementedError


def test_values_that_are_no_plain_json_are_dumped_by_their_type() -> None:
    report = Report(datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50"))
    found = returned(reports, report)
    assert isinstance(found, Succeeded), found
    assert json.loads(found.result) == {"made_at": "2026-01-02T00:00:00Z", "total": "1.50"}


@pytest.mark.parametrize(
    "value", [object(), {"deep": object()}, Report(datetime(2026, 1, 2, tzinfo=UTC), Decimal("NaN"))]
)
def test_what_cannot_be_stored_is_a_final_failure_of_its_own_job(value: Any) -> None:
    found = returned(anything, value)
    if isinstance(found, Succeeded):  # a Decimal becomes text
        assert json.loads(found.result)["total"] == "NaN"
    else:
        assert (found.kind, found.final) == (ErrorKind.RESULT, True)
        assert found.message.startswith("its result cannot be stored: ")


def test_a_crash_has_an_entry_too() -> None:
    entry = json.loads(error_entry(Crashed("SIGKILL")))
    assert (entry["kind"], entry["type"], entry["message"], entry["traceback"]) == (
        "crash",
        "ProcessDied",
        "SIGKILL",
        None,
    )
