"""When `errander dev` makes a key of its own, and that it does so once."""

import pytest

from db.engine import Database
from service.auth import keys
from service.dev import first_key


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({}, False),
        ({"ERRANDER_AUTH": "off"}, False),
        ({"ERRANDER_AUTH": "required"}, True),
        ({"ERRANDER_AUTH": "required", "ERRANDER_JWT_SECRET": "s"}, False),
        ({"ERRANDER_AUTH": "required", "ERRANDER_JWKS_URL_FILE": "/run/url"}, False),
    ],
)
def test_a_key_is_needed_where_there_can_be_no_other_credential(environ: dict[str, str], needed: bool) -> None:
    assert first_key.is_needed(environ) is needed


async def test_a_key_is_made_once_and_told_in_the_audit_log(database_url: str) -> None:
    text = await first_key.first_key(database_url, "errander", b"")
    assert text is not None
    assert keys.parse(text) is not None
    assert await first_key.first_key(database_url, "errander", b"") is None
    async with await Database.open(database_url, size=1) as database:
        told = await database.link.executor.fetch("SELECT action, object_id FROM errander.audit")
    assert [tuple(row) for row in told] == [("key.create", text.split("_")[1])]
