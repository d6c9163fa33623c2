"""The arq workers that ours is measured against: `arq tests.benchmarks.arq_peer.StockSettings` and `TunedSettings`.

Both are arq's own class by arq's own command; nothing here imports our `workers`, whose settings would make another
class of it. Stock is at arq's defaults, where a queue is drained at the pace of the poll: a hundred ids are read every
half second, whatever else could be done in it. Tuned takes that away, so that what is compared is the work.
"""

import os
from typing import Any, Final

from arq.connections import RedisSettings

from tests.benchmarks.tasks import stamp


async def echo(_ctx: dict[Any, Any], **payload: Any) -> dict[str, Any]:
    """Returns its payload, as `demo.echo` does."""
    return payload


async def stamped(_ctx: dict[Any, Any], n: int) -> dict[str, Any]:
    """Says that it runs, as `bench.stamp` does."""
    stamp("arq", n)
    return {"n": n}


_REDIS: Final = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))


class StockSettings:
    """What arq's command reads: its defaults."""

    functions = (echo, stamped)
    redis_settings = _REDIS


class TunedSettings:
    """As many jobs at a time as our workers have slots, and hardly a pause between polls: faster than any other we tried.

    (Whole, because arq's command reads a class's own attributes only.)
    """

    functions = (echo, stamped)
    redis_settings = _REDIS
    max_jobs = 100
    poll_delay = 0.01
