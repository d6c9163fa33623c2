"""What the API writes is what it read: `encode` is the inverse of `decode`."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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
