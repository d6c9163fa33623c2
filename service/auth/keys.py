"""API keys as text: `errander_<id>_<secret>_<checksum>`.

The id may be shown and is how a key is found. The secret has 190 random bits, so nobody guesses it, and a plain keyed hash
of the whole is all that needs to be kept. The checksum tells a mistyped or invented key from a real one without asking
anybody; the prefix lets scanners of source code find one that was committed.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "errander_"
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID, _SECRET, _CHECKSUM = 8, 32, 6
_FORM: Final = re.compile(
    rf"^errander_([0-9A-Za-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})_([0-9A-Za-z]{{{_CHECKSUM}}})\Z"
)


class KeyText(NamedTuple):
    """A key, and its id."""

    id: str
    text: str

    @property
    def last_four(self) -> str:
        """The end of its secret, by which its owner knows it again."""
        return self.text[-_CHECKSUM - 5 : -_CHECKSUM - 1]


def make() -> KeyText:
    """A new key."""
    key_id, secret = (_random(length) for length in (_ID, _SECRET))
    body = f"{PREFIX}{key_id}_{secret}"
    return KeyText(key_id, f"{body}_{_checksum(body)}")


def parse(text: str) -> KeyText | None:
    """A key that is well formed; None for anything else."""
    found = _FORM.match(text)
    if found is None or found[3] != _checksum(text.rpartition("_")[0]):
        return None
    return KeyText(found[1], text)


def digest(key: KeyText, pepper: bytes) -> bytes:
    """What is kept of a key: HMAC-SHA-256 under `pepper`, which may be empty."""
    return hmac.digest(pepper, key.text.encode(), hashlib.sha256)


def matches(key: KeyText, pepper: bytes, kept: bytes) -> bool:
    """Whether `kept` is what is kept of `key`; takes as long whichever byte differs."""
    return hmac.compare_digest(digest(key, pepper), kept)


def _random(length: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(length))


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text
