"""The tasks of this process: importing them, announcing them, and asking whether another version takes a payload."""

import hashlib
import json
from collections.abc import Iterable, Sequence

import jsonschema_rs

from db import tasks, workers
from db.engine import Link
from errander import Registry, load_tasks, registry

BUILTIN: dict[str, str] = {"demo": "workers.tasks.demo"}
"""Group → module of the built-in tasks that this version has."""


def load(paths: Iterable[str], builtin: Iterable[str]) -> Registry:
    """Imports the user's task modules and the groups of built-in tasks. Raises errander.TaskImportError."""
    groups = set(builtin)
    wanted = BUILTIN if "all" in groups else groups & BUILTIN.keys()
    load_tasks([BUILTIN[group] for group in sorted(wanted)])
    load_tasks(list(paths))
    return registry


async def announce(link: Link, known: Registry) -> None:
    """Writes every task of the registry into the catalogue."""
    await tasks.announce(
        link,
        [
            tasks.Announcement(
                name=task.name,
                schema_hash=task.schema_hash,
                payload_schema=task.payload_schema,
                result_schema=task.result_schema,
                defaults=task.defaults(),
            )
            for task in known
        ],
    )


async def announce_builtin(link: Link, groups: Sequence[str] = ("http", "email")) -> None:
    """Announces the built-in tasks of some groups, for `errander migrate`."""
    await announce(link, load((), groups))


async def another_version_fits(link: Link, task: str, schema_hash: str, payload: str, *, lease: float) -> bool:
    """Whether a live worker has another version of `task` that takes `payload` (JSON text)."""
    for schema in await workers.other_live_schemas(link, task, schema_hash, lease=lease):
        if jsonschema_rs.validator_for(schema).is_valid(json.loads(payload)):
            return True
    return False


def hashes(known: Registry) -> dict[str, str]:
    """Task name → schema hash, as a worker's row has it."""
    return {task.name: task.schema_hash for task in known}


def hash_of_names(names: Iterable[str]) -> str:
    """A short hash of a set of task names: two workers with the same tasks have the same."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
