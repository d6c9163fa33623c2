"""What the API writes is what it read: `encode` is the inverse of `decode`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http import strict_json
from service.http.problems import Problem
from service.http.strict_json import decode, encode

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=30,
)


def _exact(value: Any) -> str:
    """Tells 1 from 1.0 and -0.0 from 0.0, which compare equal."""
    return json.dumps(value, sort_keys=True)


@given(values)
def test_what_is_written_reads_back_as_it_was(value: Any) -> None:
    assert _exact(json.loads(encode(value))) == _exact(value)
    assert _exact(decode(encode(value).encode())) == _exact(value)


@given(st.integers(min_value=10**300, max_value=10**4_200))
def test_large_integers_stay_exact(value: int) -> None:
    assert int(encode(value)) == value


@pytest.mark.parametrize(
    ("raw", "is_taken"),
    [
        (b"[" + b"{}," * 8 + b"{}]", True),
        (b"[" + b"{}," * 9 + b"{}]", False),
        (b"[" + b"1," * 28 + b"1]", True),
        (b"[" + b"1," * 30 + b"1]", False),
        (b'["' + b"x" * 100 + b'"]', True),
    ],
)
def test_a_value_has_as_many_parts_as_may_be(monkeypatch: pytest.MonkeyPatch, raw: bytes, is_taken: bool) -> None:
    monkeypatch.setattr(strict_json, "MAX_NESTED", 10)
    monkeypatch.setattr(strict_json, "MAX_VALUES", 30)
    if is_taken:
        assert decode(raw) == json.loads(raw)
    else:
        with pytest.raises(Problem, match=r"payload-too-large: the body has more than 10 of \{ and"):
            decode(raw)


def test_a_batch_of_records_may_be_as_large_as_any() -> None:
    """A field every 16 bytes, a record every 32: denser than jobs are, and taken."""
    record = b'{"sku":"abc-123","n":1},'
    items = b'{"task":"a","payload":{"lines":[' + record * 133 + b"{}]}},"
    raw = b'{"jobs":[' + items * (32 * 1024 * 1024 // len(items)) + b"{}]}"
    strict_json._refuse_too_many(raw)
    assert len(raw) > 33_000_000
