"""Repeating a step that PostgreSQL turned down for a moment.

A lock that was not granted and a deadlock say that nothing changed. A connection that broke says nothing, so a step is
repeated after one only where doing it twice is the same as doing it once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from db.errors import Locked, Unavailable

T = TypeVar("T")

TRIES = 3
"""How often a step is done in all."""
_LONGEST_PAUSE = 0.05
"""Seconds: enough for the other transaction to be over, little for a client that waits."""


async def steady(step: Callable[[], Awaitable[T]], *, repeatable: bool = False) -> T:
    """Does `step`, up to `TRIES` times. `repeatable`: it may also be done again after a broken connection.

    Raises Locked or Unavailable when it still fails.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            return await step()
        except Locked:
            if not left:
                raise
        except Unavailable as error:
            if not left or not repeatable or not connection_lost(error):
                raise
        await asyncio.sleep(_LONGEST_PAUSE * random.random())
    raise AssertionError("the last try returns or raises")


def connection_lost(error: Unavailable) -> bool:
    """Whether the connection broke, as against an answer that took too long or a server that is not there."""
    return isinstance(error.__cause__, asyncpg.PostgresConnectionError | asyncpg.InterfaceError | ConnectionResetError)
