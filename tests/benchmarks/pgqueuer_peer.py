"""The pgqueuer worker that ours is measured against: `python -m tests.benchmarks.pgqueuer_peer BATCH_SIZE`.

What its own command does, on the same event loop, by the call that command makes: the command itself does not start
with the release of its argument parser that is locked here.
"""

import asyncio
import os
import sys
from typing import Final

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job

ENTRYPOINT: Final = "echo"


async def _echo(_job: Job) -> None:
    """Nothing: pgqueuer keeps no results."""


async def run(batch_size: int) -> None:
    """Runs jobs until it is ended."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        worker = PgQueuer.from_asyncpg_connection(connection)

        worker.entrypoint(ENTRYPOINT)(_echo)
        await worker.run(batch_size=batch_size)
    finally:
        await connection.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(int(sys.argv[1])))
