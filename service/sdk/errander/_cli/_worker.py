"""`errander workers`."""

from argparse import Namespace

from .._sync import Client
from ._output import Column, note, print_list
from ._session import OK, UsageError

_COLUMNS: list[Column] = [
    ("ID", lambda worker: worker.get("id")),
    ("HOST", lambda worker: worker.get("host")),
    ("PID", lambda worker: worker.get("pid")),
    ("VERSION", lambda worker: worker.get("version")),
    ("POOL", lambda worker: worker.get("pool")),
    ("PRIORITIES", lambda worker: worker.get("priorities")),
    ("RUNNING", lambda worker: worker.get("running")),
    ("SLOTS", lambda worker: worker.get("slots")),
]


def workers(args: Namespace, client: Client) -> int:
    """List the live workers, or drain one."""
    if args.action == "drain":
        if args.id is None:
            raise UsageError("which worker? `errander workers` lists their ids")
        client.workers.drain(args.id)
        note(f"worker {args.id} takes nothing more and ends when its jobs have")
        return OK
    if args.id is not None:
        raise UsageError("an id goes with `errander workers drain`")
    print_list(args, [worker.raw for worker in client.workers.list()], _COLUMNS)
    return OK
