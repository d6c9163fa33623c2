"""The first API key of `errander dev` with `ERRANDER_AUTH=required`: without any, nobody could get in to make one."""

from collections.abc import Mapping

from db import keys
from db.audit import Action, Kind
from db.engine import Database
from service import audit
from service.auth.issuing import Wish, granted, issue
from service.auth.principal import DEFAULT_TENANT

_OTHER_CREDENTIALS = ("ERRANDER_JWT_SECRET", "ERRANDER_JWKS_URL")


def is_needed(environ: Mapping[str, str]) -> bool:
    """Whether API keys are the only credentials there can be."""
    given = [name for name in _OTHER_CREDENTIALS if environ.get(name) or environ.get(f"{name}_FILE")]
    return environ.get("ERRANDER_AUTH") == "required" and not given


async def first_key(database_url: str, schema: str, pepper: bytes) -> str | None:
    """A key that may do everything, where there is none yet. Raises the errors of `db.errors`."""
    async with await Database.open(database_url, schema=schema, size=1) as database, database.begin() as link:
        if await keys.exists(link):
            return None
        wish = Wish(DEFAULT_TENANT, "errander dev", ["admin"], audit.local_actor())
        record, text = await issue(link, pepper, wish)
        await audit.record_local(link, Action.KEY_CREATE, Kind.KEY, record.id, after=granted(record))
    return text
