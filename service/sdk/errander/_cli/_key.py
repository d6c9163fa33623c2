"""`errander key …`."""

import sys
from argparse import Namespace

from .._keys import ApiKey
from .._sync import Client
from ._output import Column, Record, moment, note, print_list, print_one
from ._session import OK, UsageError

_COLUMNS: list[Column] = [
    ("ID", lambda key: key.get("id")),
    ("NAME", lambda key: key.get("name")),
    ("STATE", lambda key: "live" if key.get("active") else "ended"),
    ("SCOPES", lambda key: " ".join(key.get("scopes") or ())),
    ("CREATED", lambda key: moment(key.get("created_at"))),
    ("EXPIRES", lambda key: moment(key.get("expires_at"))),
    ("LAST USED", lambda key: moment(key.get("last_used_at"))),
]


def create(args: Namespace, client: Client) -> int:
    """Make a key over the API."""
    if args.tenant is not None:
        raise UsageError("a key belongs to the tenant of the credential that makes it; --tenant goes with --local")
    made = client.keys.create(
        args.name, args.scopes, tasks=args.tasks, max_priority=args.max_priority, expires_in=args.expires_in
    )
    show_once(args, made.raw)
    return OK


def show_once(args: Namespace, key: Record) -> None:
    """Print a key that has just been made: it alone on standard output, so that a script can keep it."""
    if args.output in ("json", "jsonl"):
        print_one(args, key)
        return
    sys.stdout.write(f"{key['key']}\n")
    note(
        f"key {key['id']} of tenant {key['tenant']}: {' '.join(key['scopes'])}. "
        "It is not shown again; set it as ERRANDER_TOKEN, or send it as `Authorization: Bearer …`"
    )


def list_keys(args: Namespace, client: Client) -> int:
    """List all keys."""
    print_list(args, [key.raw for key in client.keys.list()], _COLUMNS)
    return OK


def rotate(args: Namespace, client: Client) -> int:
    """Make a key's successor."""
    show_once(args, client.keys.rotate(args.id, overlap=args.overlap).raw)
    return OK


def revoke(args: Namespace, client: Client) -> int:
    """End keys for good."""
    ended: list[ApiKey] = [client.keys.revoke(key_id, args.reason) for key_id in args.ids]
    print_list(args, [key.raw for key in ended], _COLUMNS)
    return OK
