"""`errander queue …`."""

from argparse import Namespace

from .._sync import Client
from ._output import Column, Record, print_list
from ._session import OK


def _oldest(queue: Record) -> str:
    seconds = queue.get("oldest_ready_seconds")
    return "" if seconds is None else f"{seconds:.1f}s"


QUEUE_COLUMNS: list[Column] = [
    ("QUEUE", lambda queue: queue.get("queue")),
    ("STATE", lambda queue: "paused" if queue.get("paused") else "open"),
    ("READY", lambda queue: queue.get("ready")),
    ("SCHEDULED", lambda queue: queue.get("scheduled")),
    ("HELD", lambda queue: queue.get("held")),
    ("RUNNING", lambda queue: queue.get("running")),
    ("OLDEST", _oldest),
    ("WORKERS", lambda queue: queue.get("workers")),
    ("SLOTS", lambda queue: queue.get("slots")),
    ("FREE", lambda queue: queue.get("slots_free")),
]


def list_queues(args: Namespace, client: Client) -> int:
    """List all queues."""
    print_list(args, [queue.raw for queue in client.queues.list()], QUEUE_COLUMNS, key="queue")
    return OK


def pause(args: Namespace, client: Client) -> int:
    """Pause queues."""
    done = [client.queues.pause(name, args.reason).raw for name in args.names]
    print_list(args, done, QUEUE_COLUMNS, key="queue")
    return OK


def resume(args: Namespace, client: Client) -> int:
    """Resume queues."""
    print_list(args, [client.queues.resume(name).raw for name in args.names], QUEUE_COLUMNS, key="queue")
    return OK
