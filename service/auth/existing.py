"""Whether there is any API key: asked before the API starts, when no other credentials are configured."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from db import keys
from db.engine import Database
from db.errors import SchemaBehind


def has_key(database_url: str, schema: str) -> bool:
    """Whether there is a key that can be used. Raises the errors of `db.errors`.

    In a thread of its own, because a loop may run in this one.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _has_key(database_url, schema)).result()


async def _has_key(database_url: str, schema: str) -> bool:
    async with await Database.open(database_url, schema=schema, size=1, ready=False) as database:
        try:
            return await keys.exists(database.link)
        except SchemaBehind:
            return False
