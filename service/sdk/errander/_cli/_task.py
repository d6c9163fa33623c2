"""`errander task …`."""

from argparse import Namespace

from .._sync import Client
from ._output import Column, Record, print_list, print_one
from ._session import OK


def _fields(task: Record) -> str:
    """The payload's fields, those that may be left out in brackets."""
    schema = task.get("payload_schema") or {}
    required = schema.get("required", [])
    names = [name if name in required else f"[{name}]" for name in schema.get("properties", {})]
    return " ".join([*names, "[…]"] if schema.get("additionalProperties") else names)


_COLUMNS: list[Column] = [
    ("TASK", lambda task: task.get("name")),
    ("STATE", lambda task: "paused" if task.get("paused") else "live" if task.get("live") else "no worker"),
    ("WORKERS", lambda task: task.get("live")),
    ("PAYLOAD", _fields),
]


def list_tasks(args: Namespace, client: Client) -> int:
    """List the catalogue."""
    print_list(args, [task.raw for task in client.tasks.list()], _COLUMNS, key="name")
    return OK


def show(args: Namespace, client: Client) -> int:
    """Show one task."""
    print_one(args, client.tasks.get(args.name).raw, key="name")
    return OK


def pause(args: Namespace, client: Client) -> int:
    """Pause tasks."""
    print_list(args, [client.tasks.pause(name, args.reason).raw for name in args.names], _COLUMNS, key="name")
    return OK


def resume(args: Namespace, client: Client) -> int:
    """Resume tasks."""
    print_list(args, [client.tasks.resume(name).raw for name in args.names], _COLUMNS, key="name")
    return OK
