"""`errander audit …`."""

import json
from argparse import Namespace
from typing import cast

from .._audit import AuditFilter
from .._sync import Client
from ._output import Column, Record, moment, print_list
from ._session import OK


def _object(entry: Record) -> str:
    changed = entry.get("object") or {}
    return " ".join(str(part) for part in (changed.get("kind"), changed.get("id")) if part)


def _change(entry: Record) -> str:
    before, after = entry.get("before"), entry.get("after")
    became = json.dumps(after, ensure_ascii=False) if after else ""
    return f"{json.dumps(before, ensure_ascii=False)} → {became}" if before else became


_COLUMNS: list[Column] = [
    ("AT", lambda entry: moment(entry.get("at"))),
    ("ACTOR", lambda entry: entry.get("actor")),
    ("ACTION", lambda entry: entry.get("action")),
    ("OBJECT", _object),
    ("CHANGE", _change),
    ("REASON", lambda entry: entry.get("reason")),
]
_FILTERS = ("actor", "action", "object_kind", "object_id", "after", "before")


def list_audit(args: Namespace, client: Client) -> int:
    """List who did what, newest first."""
    given = {name: getattr(args, name) for name in _FILTERS if getattr(args, name) is not None}
    found = client.audit.list(limit=args.limit, ids=args.ids, **cast("AuditFilter", given))
    print_list(args, (entry.raw for entry in found), _COLUMNS)
    return OK
