"""How a hint is written: arq's queue names and arq's call."""

import json
from uuid import UUID

import pytest

from workers.hints import encode, queue_name

JOB = UUID("01990000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("pool", "priority", "name"),
    [
        ("default", "high", "errander:high"),
        ("default", "low", "errander:low"),
        ("gpu", "default", "errander:gpu:default"),
    ],
)
def test_a_queue_is_named_by_its_pool_and_priority(pool: str, priority: str, name: str) -> None:
    assert queue_name(pool, priority) == name


def test_the_call_is_the_one_function_with_the_id() -> None:
    assert json.loads(encode(JOB, enqueued_ms=5)) == {"t": None, "f": "run", "a": [str(JOB)], "k": {}, "et": 5}


def test_arq_reads_it() -> None:
    from arq.jobs import deserialize_job

    found = deserialize_job(encode(JOB, enqueued_ms=1_000), deserializer=json.loads)
    assert (found.function, list(found.args), found.kwargs) == ("run", [str(JOB)], {})
    assert not found.job_try
