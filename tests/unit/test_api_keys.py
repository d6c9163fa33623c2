"""API keys as text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from service.auth import keys


def test_a_key_has_a_prefix_an_id_a_secret_and_a_checksum() -> None:
    key = keys.make()
    assert re.fullmatch(r"errander_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", key.text)
    assert key.text.split("_")[1] == key.id
    assert key.text.split("_")[2].endswith(key.last_four)
    assert len(key.last_four) == 4
    assert keys.parse(key.text) == key


def test_no_two_keys_are_alike() -> None:
    made = [keys.make() for _ in range(200)]
    assert len({key.id for key in made}) == len({key.text for key in made}) == 200


@given(st.integers(0, 57), st.characters())
def test_a_key_with_one_other_character_is_none(place: int, character: str) -> None:
    text = keys.make().text
    changed = text[:place] + character + text[place + 1 :]
    assert keys.parse(changed) is None or changed == text


@given(st.text(max_size=80))
def test_other_texts_are_no_keys(text: str) -> None:
    assert keys.parse(text) is None
    assert keys.parse("errander_" + text) is None
    assert keys.parse(keys.make().text + text) is None or not text


def test_what_is_kept_depends_on_every_part_and_on_the_pepper() -> None:
    one, other = keys.make(), keys.make()
    kept = keys.digest(one, b"pepper")
    assert len(kept) == 32
    assert keys.matches(one, b"pepper", kept)
    assert not keys.matches(one, b"", kept)
    assert not keys.matches(other, b"pepper", kept)
    assert one.text.encode() not in kept
