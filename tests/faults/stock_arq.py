"""A stock arq worker on one of our queues: `arq tests.faults.stock_arq.Settings`."""

import json
import os
from typing import Any, cast

from arq.connections import RedisSettings
from arq.worker import func

from workers.arq_worker import run
from workers.hints import ARQ_FUNCTION


class Settings:
    """What somebody might write who takes our queue for one of arq's."""

    functions = (func(cast("Any", run), name=ARQ_FUNCTION, max_tries=1),)
    queue_name = "errander:default"
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1"))
    job_deserializer = json.loads
    job_serializer = str.encode
