"""`errander status`: is it up, how full is it, what happened lately."""

from argparse import Namespace
from typing import Any

from .._sync import Client
from ._output import mode, print_list, print_one
from ._queue import QUEUE_COLUMNS
from ._session import OK, UNAVAILABLE


def status(args: Namespace, client: Client) -> int:
    """Readiness, version, counts and queues. Exit code 5 where the service is not ready."""
    ready = client.ready()
    found: dict[str, Any] = {"url": client.base_url, "status": ready.status, "checks": ready.checks}
    if ready.status != "unavailable":
        stats = client.stats().raw
        found |= {"version": client.version().version, "jobs": stats.get("jobs"), "workers": stats.get("workers")}
        found["last_5_minutes"] = stats.get("last_5_minutes")
        queues = [queue.raw for queue in client.queues.list()]
        if mode(args) == "table":
            print_one(args, found, key="status")
            print_list(args, queues, QUEUE_COLUMNS)
        else:
            print_one(args, found | {"queues": queues}, key="status")
        return OK
    print_one(args, found, key="status")
    return UNAVAILABLE
