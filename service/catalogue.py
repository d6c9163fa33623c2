"""The catalogue as the API needs it for every submit: in memory, at most a second old, schemas compiled once.

A payload is accepted if any schema that a live worker has takes it; where no worker is live, the newest announced one
decides. The worker checks again with the task's own signature and has the last word.
"""

import asyncio
import difflib
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jsonschema_rs
import structlog

from db import tasks
from db.engine import Link
from db.tasks import Known, Schemas
from service.http.problems import FieldError
from service.http.strict_json import escaped

_log = structlog.get_logger("errander.catalogue")

KEEP_SECONDS = 1.0
"""How old the catalogue in memory may be; an unknown task is asked for at once."""
MAX_SCHEMA_ERRORS = 20
"""Errors of one payload in an answer."""


class Schema:
    """One announced schema, compiled."""

    def __init__(self, name: str, announced: Schemas) -> None:
        self.announced = announced
        try:
            self._validator: Any = jsonschema_rs.validator_for(announced.payload_schema)
        except Exception as error:  # whatever the compiler cannot read, the worker's signature still checks
            _log.warning("catalogue.schema_not_compiled", task=name, error=str(error)[:500])
            self._validator = None

    def errors(self, payload: Mapping[str, Any]) -> list[FieldError]:
        """What the schema says against `payload`, with pointers that begin at `/payload`."""
        if self._validator is None or self._validator.is_valid(payload):
            return []
        every = (one for error in self._validator.iter_errors(payload) for one in _field_errors(error))
        return list(itertools.islice(every, MAX_SCHEMA_ERRORS))


def _field_errors(error: Any) -> Iterator[FieldError]:
    """One refusal of the validator; what is missing or too much is pointed at by its own name."""
    pointer = "/payload" + "".join(f"/{escaped(step)}" for step in error.instance_path)
    keyword, detail = error.kind.name, error.kind.as_dict()
    if keyword == "required":
        name = detail.get("property", "")
        yield FieldError(f"{pointer}/{escaped(name)}", "is missing", "required")
    elif keyword == "additionalProperties":
        for name in detail.get("unexpected", ()):
            yield FieldError(f"{pointer}/{escaped(name)}", "the task takes no such field", "unknown-field")
    else:
        yield FieldError(pointer, str(error.message)[:500], keyword)


@dataclass(frozen=True, slots=True)
class Entry:
    """A task: all its schemas, newest announcement first."""

    name: str
    known: tuple[Known, ...]
    schemas: tuple[Schema, ...]

    @property
    def newest(self) -> Schemas:
        """What was announced last."""
        return self.schemas[0].announced

    @property
    def live(self) -> int:
        """How many live workers have the task, in whatever version."""
        return sum(known.live for known in self.known)

    def errors(self, payload: Mapping[str, Any]) -> list[FieldError]:
        """Why no schema that counts takes `payload`; empty if one does. The newest schema's reasons are given."""
        counting = [schema for schema, known in zip(self.schemas, self.known, strict=True) if known.live]
        first: list[FieldError] = []
        for schema in counting or self.schemas[:1]:
            errors = schema.errors(payload)
            if not errors:
                return []
            first = first or errors
        return first


class Catalogue:
    """Owned by a process."""

    def __init__(self, link: Link, lease: float) -> None:
        self._link = link
        self._lease = lease
        self._entries: dict[str, Entry] = {}
        self._compiled: dict[tuple[str, str], Schema] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def entries(self) -> dict[str, Entry]:
        """Name → entry, at most `KEEP_SECONDS` old. Raises the errors of `db.errors`."""
        if time.monotonic() - self._read_at >= KEEP_SECONDS:
            await self._read(time.monotonic())
        return self._entries

    async def find(self, name: str, *, since: float | None = None) -> Entry | None:
        """The entry of a task. For one that is not known the database is asked at once, unless it was asked after
        `since` (`time.monotonic()`): a batch of many unknown names asks once.
        """
        asked = time.monotonic() if since is None else since
        found = (await self.entries()).get(name)
        if found is None and self._read_at < asked:
            await self._read(asked)
            found = self._entries.get(name)
        return found

    def forget(self) -> None:
        """Makes the next look fresh, after this process changed something."""
        self._read_at = float("-inf")

    def similar(self, name: str) -> list[str]:
        """Known names that look like `name`, best first."""
        close = difflib.get_close_matches(name, self._entries, n=5, cutoff=0.6)
        inside = sorted(known for known in self._entries if name and name.lower() in known.lower())
        return list(dict.fromkeys([*close, *inside]))[:5]

    @property
    def announced_at(self) -> datetime | None:
        """When anything was announced last."""
        return max(self._moments(), default=None)

    def _moments(self) -> Iterator[datetime]:
        return (known.announced_at for entry in self._entries.values() for known in entry.known)

    async def _read(self, not_before: float) -> None:
        async with self._reading:
            if self._read_at >= not_before:
                return  # somebody else read while this call waited
            started = time.monotonic()
            rows = await tasks.catalogue(self._link, self._lease)
            keys = [(row.name, row.schema_hash) for row in rows]
            missing = [key for key in keys if key not in self._compiled]
            if missing:
                for key, announced in (await tasks.schemas(self._link, missing)).items():
                    self._compiled[key] = Schema(key[0], announced)
            by_name: dict[str, list[Known]] = {}
            for row in rows:
                if (row.name, row.schema_hash) in self._compiled:
                    by_name.setdefault(row.name, []).append(row)
            self._entries = {
                name: Entry(name, tuple(known), tuple(self._compiled[name, row.schema_hash] for row in known))
                for name, known in by_name.items()
            }
            self._read_at = started
