"""Ending background tasks for certain.

A cancellation can get lost: `asyncio.wait_for` before Python 3.12, and clients that use such code, swallow one that
arrives in the moment their answer does. A loop that lost its cancellation goes on, and whoever awaits it waits for
ever, so it is asked again until it has ended.
"""

import asyncio
from typing import Any

_PATIENCE_SECONDS = 0.2
"""How long a task may take to clean up before it is asked again."""


async def cancel_and_wait(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancels `tasks` and returns when all have ended. What they raise is not raised here."""
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_SECONDS)
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
